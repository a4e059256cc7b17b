//! What kube's watcher does not do by itself on the way to the server.
//!
//! It resumes a watch without a word, so that after a failure nothing would tell that all is well
//! again until the next change, which may be hours away: here is noticed when the server takes one.
//! And it asks for metadata only with another type of objects, which has no place for what we make
//! of an object while it is decoded: here the question says so.

use super::backoff::FIRST;
use futures::future::BoxFuture;
use http::header::ACCEPT;
use http::{HeaderValue, Request, Response};
use kube::Client;
use kube::client::Body;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Notify;
use tokio::time::Instant;
use tower_service::Service;

/// What is asked for where metadata is enough. A server that does not know this form of objects sends
/// whole ones, by the second half.
const LIST: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json");
const WATCH: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json");

/// The way to the server of one kind's watch.
pub struct Observed {
    inner: Client,
    /// Whether metadata is all that is wanted.
    metadata_only: bool,
    opened: Arc<Notify>,
    /// When a watch may be asked for again.
    not_before: Instant,
}

impl Observed {
    /// A client that goes through `client` and notifies `opened` of every watch that the server
    /// takes.
    pub fn client(client: &Client, metadata_only: bool, opened: Arc<Notify>) -> Client {
        let namespace = client.default_namespace().to_owned();
        let observed = Observed { inner: client.clone(), metadata_only, opened, not_before: Instant::now() };
        Client::new(observed, namespace)
    }
}

impl Service<Request<Body>> for Observed {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (client, opened) = (self.inner.clone(), self.opened.clone());
        let watch = request.uri().query().unwrap_or_default().split('&').any(|pair| pair == "watch=true");
        if self.metadata_only {
            request.headers_mut().insert(ACCEPT, if watch { WATCH } else { LIST });
        }
        if !watch {
            return Box::pin(async move { client.send(request).await });
        }
        // kube's watcher asks again at once when a watch ends in order. A server that ends each of
        // them as soon as it has begun must not be asked in a tight loop.
        let not_before = self.not_before.max(Instant::now());
        self.not_before = not_before + FIRST;
        Box::pin(async move {
            tokio::time::sleep_until(not_before).await;
            let answer = client.send(request).await?;
            if answer.status().is_success() {
                opened.notify_one();
            }
            Ok(answer)
        })
    }
}
