//! Suffixes directly under which anybody can have a name: storage, content delivery, hosting, tunnels.
//!
//! The names are those that the providers document for what their customers make, most of them also in the private
//! part of the Public Suffix List (<https://publicsuffix.org>). The whole list is not taken: it has ten thousand
//! suffixes, adds nearly a megabyte to the program and must be renewed to stay right, and it says of a name only
//! whether it is a suffix, not whether suffixes lie below it, as they do below `amazonaws.com`. What is missing here
//! is a finding less, never a false one.

use netsim_shared::dns::DomainName;

/// A suffix, and what its names are. In it `REGION` stands for a region's name such as `eu-west-1`, `ANY` for any
/// label.
type Row = (&'static str, &'static str);

/// The more usual form of a suffix comes before the others of its provider.
const SHARED: &[Row] = &[
    // Amazon Web Services
    ("s3.amazonaws.com", "buckets of Amazon S3"),
    ("s3.REGION.amazonaws.com", "buckets of Amazon S3"),
    ("s3-REGION.amazonaws.com", "buckets of Amazon S3"),
    ("s3.dualstack.REGION.amazonaws.com", "buckets of Amazon S3"),
    ("s3-website.REGION.amazonaws.com", "sites of Amazon S3"),
    ("s3-website-REGION.amazonaws.com", "sites of Amazon S3"),
    ("s3-accesspoint.REGION.amazonaws.com", "access points of Amazon S3"),
    ("execute-api.REGION.amazonaws.com", "APIs of Amazon API Gateway"),
    ("elb.amazonaws.com", "load balancers of AWS"),
    ("REGION.elb.amazonaws.com", "load balancers of AWS"),
    ("elb.REGION.amazonaws.com", "load balancers of AWS"),
    ("compute.amazonaws.com", "virtual machines of Amazon EC2"),
    ("compute-1.amazonaws.com", "virtual machines of Amazon EC2"),
    ("REGION.compute.amazonaws.com", "virtual machines of Amazon EC2"),
    ("dkr.ecr.REGION.amazonaws.com", "registries of Amazon ECR"),
    ("s3.REGION.amazonaws.com.cn", "buckets of Amazon S3"),
    ("cloudfront.net", "distributions of Amazon CloudFront"),
    ("elasticbeanstalk.com", "applications of AWS Elastic Beanstalk"),
    ("REGION.elasticbeanstalk.com", "applications of AWS Elastic Beanstalk"),
    ("lambda-url.REGION.on.aws", "functions of AWS Lambda"),
    ("REGION.awsapprunner.com", "applications of AWS App Runner"),
    ("amplifyapp.com", "applications of AWS Amplify"),
    ("awsglobalaccelerator.com", "accelerators of AWS"),
    // Microsoft Azure
    ("blob.core.windows.net", "storage accounts of Azure"),
    ("dfs.core.windows.net", "storage accounts of Azure"),
    ("file.core.windows.net", "storage accounts of Azure"),
    ("queue.core.windows.net", "storage accounts of Azure"),
    ("table.core.windows.net", "storage accounts of Azure"),
    ("web.core.windows.net", "sites of Azure Storage"),
    ("ANY.web.core.windows.net", "sites of Azure Storage"),
    ("servicebus.windows.net", "message queues of Azure Service Bus"),
    ("database.windows.net", "databases of Azure SQL"),
    ("azurewebsites.net", "applications of Azure App Service"),
    ("azurestaticapps.net", "applications of Azure"),
    ("ANY.azurestaticapps.net", "applications of Azure"),
    ("azurecontainerapps.io", "applications of Azure"),
    ("ANY.azurecontainerapps.io", "applications of Azure"),
    ("azureedge.net", "endpoints of Azure CDN"),
    ("azurefd.net", "endpoints of Azure Front Door"),
    ("cloudapp.net", "virtual machines of Azure"),
    ("cloudapp.azure.com", "virtual machines of Azure"),
    ("ANY.cloudapp.azure.com", "virtual machines of Azure"),
    ("documents.azure.com", "databases of Azure Cosmos DB"),
    ("azure-api.net", "APIs of Azure API Management"),
    ("trafficmanager.net", "profiles of Azure Traffic Manager"),
    ("azurecr.io", "registries of Azure"),
    // Google Cloud
    ("storage.googleapis.com", "buckets of Google Cloud Storage"),
    ("appspot.com", "applications of Google App Engine"),
    ("r.appspot.com", "applications of Google App Engine"),
    ("ANY.r.appspot.com", "applications of Google App Engine"),
    ("run.app", "services of Google Cloud Run"),
    ("a.run.app", "services of Google Cloud Run"),
    ("REGION.run.app", "services of Google Cloud Run"),
    ("cloudfunctions.net", "functions of Google Cloud"),
    ("web.app", "sites of Firebase"),
    ("firebaseapp.com", "sites of Firebase"),
    ("firebaseio.com", "databases of Firebase"),
    ("firebasedatabase.app", "databases of Firebase"),
    ("ANY.firebasedatabase.app", "databases of Firebase"),
    ("bc.googleusercontent.com", "virtual machines of Google Cloud"),
    // Other clouds
    ("ANY.aliyuncs.com", "buckets and services of Alibaba Cloud"),
    ("cos.ANY.myqcloud.com", "buckets of Tencent Cloud"),
    ("objectstorage.REGION.oraclecloud.com", "buckets of Oracle Cloud"),
    ("digitaloceanspaces.com", "buckets of DigitalOcean"),
    ("ANY.digitaloceanspaces.com", "buckets of DigitalOcean"),
    ("ANY.cdn.digitaloceanspaces.com", "buckets of DigitalOcean"),
    ("ondigitalocean.app", "applications of DigitalOcean"),
    ("linodeobjects.com", "buckets of Akamai Cloud"),
    ("ANY.linodeobjects.com", "buckets of Akamai Cloud"),
    ("s3.ANY.backblazeb2.com", "buckets of Backblaze"),
    ("s3.wasabisys.com", "buckets of Wasabi"),
    ("s3.ANY.wasabisys.com", "buckets of Wasabi"),
    ("s3.ANY.scw.cloud", "buckets of Scaleway"),
    ("ANY.your-objectstorage.com", "buckets of Hetzner"),
    ("r2.cloudflarestorage.com", "buckets of Cloudflare"),
    ("r2.dev", "buckets of Cloudflare"),
    // Content delivery
    ("akamaiedge.net", "customers of Akamai"),
    ("akamaihd.net", "customers of Akamai"),
    ("akamaized.net", "customers of Akamai"),
    ("edgekey.net", "customers of Akamai"),
    ("edgesuite.net", "customers of Akamai"),
    ("cdn.cloudflare.net", "customers of Cloudflare"),
    ("fastly.net", "customers of Fastly"),
    ("ANY.fastly.net", "customers of Fastly"),
    ("fastlylb.net", "customers of Fastly"),
    ("edgecompute.app", "applications of Fastly"),
    ("b-cdn.net", "customers of Bunny"),
    ("cdn77.org", "customers of CDN77"),
    ("kxcdn.com", "customers of KeyCDN"),
    // Hosting
    ("github.io", "sites of GitHub Pages"),
    ("gitlab.io", "sites of GitLab Pages"),
    ("bitbucket.io", "sites of Bitbucket"),
    ("readthedocs.io", "sites of Read the Docs"),
    ("workers.dev", "applications of Cloudflare"),
    ("pages.dev", "sites of Cloudflare"),
    ("vercel.app", "applications of Vercel"),
    ("now.sh", "applications of Vercel"),
    ("netlify.app", "sites of Netlify"),
    ("herokuapp.com", "applications of Heroku"),
    ("onrender.com", "applications of Render"),
    ("fly.dev", "applications of Fly.io"),
    ("up.railway.app", "applications of Railway"),
    ("deno.dev", "applications of Deno Deploy"),
    ("glitch.me", "applications of Glitch"),
    ("repl.co", "applications of Replit"),
    ("replit.app", "applications of Replit"),
    ("replit.dev", "applications of Replit"),
    ("supabase.co", "projects of Supabase"),
    ("hf.space", "applications of Hugging Face"),
    ("streamlit.app", "applications of Streamlit"),
    ("pythonanywhere.com", "applications of PythonAnywhere"),
    ("surge.sh", "sites of Surge"),
    ("blogspot.com", "blogs of Blogger"),
    ("wordpress.com", "sites of WordPress.com"),
    ("wixsite.com", "sites of Wix"),
    ("weebly.com", "sites of Weebly"),
    ("webflow.io", "sites of Webflow"),
    ("myshopify.com", "shops of Shopify"),
    // Tunnels, and names for addresses at home
    ("ngrok.app", "tunnels of ngrok"),
    ("ngrok.dev", "tunnels of ngrok"),
    ("ngrok.io", "tunnels of ngrok"),
    ("ANY.ngrok.io", "tunnels of ngrok"),
    ("ngrok-free.app", "tunnels of ngrok"),
    ("ngrok-free.dev", "tunnels of ngrok"),
    ("loca.lt", "tunnels of localtunnel"),
    ("trycloudflare.com", "tunnels of Cloudflare"),
    ("cfargotunnel.com", "tunnels of Cloudflare"),
    ("app.github.dev", "tunnels of GitHub Codespaces"),
    ("ddns.net", "dynamic names of No-IP"),
    ("hopto.org", "dynamic names of No-IP"),
    ("zapto.org", "dynamic names of No-IP"),
    ("duckdns.org", "dynamic names of Duck DNS"),
    ("nip.io", "a name for any address"),
    ("sslip.io", "a name for any address"),
    // Sold like a country's
    ("uk.com", "a public suffix"),
    ("us.com", "a public suffix"),
    ("eu.com", "a public suffix"),
    ("de.com", "a public suffix"),
    ("com.de", "a public suffix"),
];

/// Labels under which countries sell names, as in `co.uk` and `com.au`. Those that only schools, the state or the
/// army get names under are not among them.
const SOLD: [&str; 11] = ["co", "com", "firm", "info", "ltd", "ne", "net", "nom", "or", "org", "plc"];

/// Names that anybody can have.
#[derive(Debug, PartialEq, Eq)]
pub struct Shared {
    /// Directly under which suffix; with the placeholders of the table.
    pub suffix: String,
    /// What they are.
    pub what: &'static str,
    /// Whether it is the name that was asked about; else the suffix lies below it.
    pub itself: bool,
}

/// Whether names that anybody can have lie below a name: directly, or further down.
pub fn below(name: &DomainName) -> Option<Shared> {
    let labels: Vec<&str> = name.labels().rev().collect();
    let beginning = |suffix: &str| {
        let mut wanted = suffix.rsplit('.');
        let fits = labels.iter().all(|label| wanted.next().is_some_and(|wanted| label_fits(wanted, label)));
        fits.then(|| wanted.next().is_none())
    };
    let found = |(suffix, what): &Row| Some((beginning(suffix)?, *suffix, *what));
    let best = SHARED.iter().filter_map(found).reduce(|best, next| if next.0 && !best.0 { next } else { best });
    if let Some((itself, suffix, what)) = best {
        let suffix = if itself { name.to_string() } else { suffix.to_owned() };
        return Some(Shared { suffix, what, itself });
    }
    match labels.as_slice() {
        [country, kind] if country.len() == 2 && SOLD.contains(kind) => {
            Some(Shared { suffix: name.to_string(), what: "a public suffix", itself: true })
        }
        _ => None,
    }
}

fn label_fits(wanted: &str, label: &str) -> bool {
    match wanted.split_once("REGION") {
        _ if wanted == "ANY" => true,
        Some((before, after)) => {
            let region = label.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            region.is_some_and(|region| region.contains('-') && region.ends_with(|c: char| c.is_ascii_digit()))
        }
        None => wanted == label,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn found(name: &str) -> Option<(String, bool)> {
        below(&name.parse().unwrap()).map(|shared| (shared.suffix, shared.itself))
    }

    #[test]
    fn names_of_anybody_are_told_from_names_of_one() {
        for (name, suffix) in [
            ("github.io", Some("github.io")),
            ("shop.github.io", None),
            ("s3.amazonaws.com", Some("s3.amazonaws.com")),
            ("s3.eu-west-1.amazonaws.com", Some("s3.eu-west-1.amazonaws.com")),
            ("s3-us-west-2.amazonaws.com", Some("s3-us-west-2.amazonaws.com")),
            ("bucket.s3.eu-west-1.amazonaws.com", None),
            ("kms.eu-west-1.amazonaws.com", None),
            ("sts.amazonaws.com", None),
            ("westeurope.cloudapp.azure.com", Some("westeurope.cloudapp.azure.com")),
            ("vm.westeurope.cloudapp.azure.com", None),
            ("co.uk", Some("co.uk")),
            ("com.au", Some("com.au")),
            ("shop.co.uk", None),
            ("gov.uk", None),
            ("com.example", None),
            ("example.com", None),
        ] {
            assert_eq!(found(name), suffix.map(|suffix| (suffix.to_owned(), true)), "{name}");
        }
    }

    #[test]
    fn suffixes_further_down_count() {
        let below = |suffix: &str| Some((suffix.to_owned(), false));
        assert_eq!(found("amazonaws.com"), below("s3.amazonaws.com"));
        assert_eq!(found("eu-west-1.amazonaws.com"), below("s3.REGION.amazonaws.com"));
        assert_eq!(found("windows.net"), below("blob.core.windows.net"));
        assert_eq!(found("googleapis.com"), below("storage.googleapis.com"));
        assert_eq!(found("aliyuncs.com"), below("ANY.aliyuncs.com"));
        assert_eq!(found("us-central1.run.app"), Some(("us-central1.run.app".to_owned(), true)));
    }

    #[test]
    fn the_table_has_each_suffix_once_and_canonical() {
        let suffixes: BTreeSet<&str> = SHARED.iter().map(|(suffix, _)| *suffix).collect();
        assert_eq!(suffixes.len(), SHARED.len());
        for suffix in suffixes {
            let name = suffix.replace("ANY", "any").replace("REGION", "eu-west-1");
            assert_eq!(name.parse::<DomainName>().unwrap().to_string(), name);
            assert!(found(&name).unwrap().1, "{name}");
        }
    }
}
