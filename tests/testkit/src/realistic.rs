//! What pods of a real cluster have besides what policies look at: who wrote which field, environments, volumes,
//! probes, tolerations, conditions, states of containers. It is most of their bytes, and what an agent has to get past.

use serde_json::{Value, json};

/// When everything happens.
const TIME: &str = "2026-11-20T08:15:30Z";

/// What happens to a pod until it is gone, as an API server stores it one after another: it is created, gets a node,
/// its containers are created, they run, it is ready; it is to be deleted, and its containers have ended.
pub const STAGES: [&str; 7] = ["created", "scheduled", "creating", "running", "ready", "deleting", "ended"];

/// A pod with all that a kubelet and a Deployment's controller add, as it is for most of its life. `pod` is one of
/// [`Synthetic`](crate::synthetic::Synthetic), with namespace, name, labels, ports, node and addresses.
pub fn dressed(pod: &Value, i: usize) -> Value {
    stage(pod, i, "ready")
}

/// The same at one of its [`STAGES`].
pub fn stage(pod: &Value, i: usize, stage: &str) -> Value {
    let at = STAGES.iter().position(|name| *name == stage).unwrap_or(STAGES.len());
    let reached = |name: &str| STAGES.iter().position(|stage| *stage == name).is_some_and(|stage| stage <= at);
    let ended = reached("ended");
    let app = pod["metadata"]["labels"]["app"].as_str().unwrap_or("app");
    let mut whole = json!({"apiVersion": "v1", "kind": "Pod"});
    whole["metadata"] = metadata(pod, i, app, reached("scheduled"), reached("creating"));
    whole["spec"] = spec(pod, i, app);
    if !reached("scheduled") {
        remove(&mut whole["spec"], "nodeName");
    }
    if reached("deleting") {
        whole["metadata"]["deletionTimestamp"] = TIME.into();
        whole["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    }
    let running = reached("running") && !ended;
    let phase = if ended {
        "Failed"
    } else if running {
        "Running"
    } else {
        "Pending"
    };
    let mut status = json!({"phase": phase, "qosClass": "Burstable"});
    if reached("scheduled") {
        status["conditions"] = conditions(reached("creating"), running, reached("ready") && !ended);
    }
    if reached("creating") {
        for field in ["hostIP", "hostIPs"] {
            status[field] =
                pod["status"].get(field).cloned().unwrap_or_else(|| json!([{"ip": pod["status"]["hostIP"]}]));
        }
        status["startTime"] = TIME.into();
        status["containerStatuses"] = container_statuses(i, app, running, reached("ready") && !ended);
    }
    if reached("running") {
        for field in ["podIP", "podIPs"] {
            status[field] = pod["status"][field].clone();
        }
    }
    whole["status"] = status;
    whole
}

/// The lengths of the lines that a watch of unfinished pods sends of a pod, one for each of its [`STAGES`]: at the last
/// one it has finished, and is told as deleted, as it was.
pub fn life(pod: &Value, i: usize) -> Vec<usize> {
    let line = |event: &str, object: Value| json!({"type": event, "object": object}).to_string().len() + 1;
    let events = STAGES.iter().enumerate().map(|(at, name)| match at {
        0 => line("ADDED", stage(pod, i, name)),
        at if at + 1 == STAGES.len() => line("DELETED", stage(pod, i, STAGES[at - 1])),
        _ => line("MODIFIED", stage(pod, i, name)),
    });
    events.collect()
}

fn remove(object: &mut Value, field: &str) {
    object.as_object_mut().into_iter().for_each(|fields| _ = fields.remove(field));
}

/// 32 hexadecimal digits that differ from pod to pod and compress badly, as identifiers do.
fn digits(i: usize, salt: u64) -> String {
    let mut state = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd6e8_feb8_6659_fd93);
    let mut next = || {
        state = (state ^ (state >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93).wrapping_add(0x9e37_79b9);
        state ^ (state >> 29)
    };
    format!("{:016x}{:016x}", next(), next())
}

fn uid(i: usize, salt: u64) -> String {
    let digits = digits(i, salt);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

fn metadata(pod: &Value, i: usize, app: &str, scheduled: bool, started: bool) -> Value {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let set = format!("{app}-{}", &digits(i / 40, 1)[..10]);
    let mut labels = pod["metadata"]["labels"].clone();
    for (key, value) in [
        ("app.kubernetes.io/name", app.to_owned()),
        ("app.kubernetes.io/instance", format!("{app}-production")),
        ("app.kubernetes.io/managed-by", "Helm".to_owned()),
        ("pod-template-hash", digits(i / 40, 1)[..10].to_owned()),
    ] {
        labels[key] = value.into();
    }
    json!({
        "name": name,
        "generateName": format!("{set}-"),
        "namespace": pod["metadata"]["namespace"],
        "uid": uid(i, 2),
        "resourceVersion": (1_000_000 + i).to_string(),
        "creationTimestamp": TIME,
        "labels": labels,
        "annotations": {
            "checksum/config": digits(i / 40, 3).repeat(2),
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "9100",
            "kubectl.kubernetes.io/restartedAt": TIME,
        },
        "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": uid(i / 40, 4),
            "controller": true, "blockOwnerDeletion": true,
        }],
        "managedFields": managed_fields(i, scheduled, started),
    })
}

/// A tree of the field names that a manager owns.
fn owned(fields: &[&str]) -> Value {
    fields.iter().map(|field| ((*field).to_owned(), json!({}))).collect::<serde_json::Map<_, _>>().into()
}

fn managed_fields(i: usize, scheduled: bool, started: bool) -> Value {
    let probe =
        owned(&[".", "f:failureThreshold", "f:httpGet", "f:periodSeconds", "f:successThreshold", "f:timeoutSeconds"]);
    let named = |kind: &str, name: &str| format!("k:{{\"{kind}\":\"{name}\"}}");
    let mut env = json!({".": {}});
    for variable in variables() {
        env[named("name", &variable)] = owned(&[".", "f:name", "f:value"]);
    }
    let port = |number: u16| format!("k:{{\"containerPort\":{number},\"protocol\":\"TCP\"}}");
    let container = json!({
        ".": {}, "f:env": env, "f:image": {}, "f:imagePullPolicy": {}, "f:livenessProbe": probe, "f:name": {},
        "f:ports": { ".": {}, port(8080): owned(&[".", "f:containerPort", "f:name", "f:protocol"]),
                     port(9100): owned(&[".", "f:containerPort", "f:name", "f:protocol"]) },
        "f:readinessProbe": probe,
        "f:resources": { ".": {}, "f:limits": owned(&[".", "f:memory"]), "f:requests": owned(&[".", "f:cpu", "f:memory"]) },
        "f:securityContext": owned(&[".", "f:allowPrivilegeEscalation", "f:readOnlyRootFilesystem"]),
        "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {},
        "f:volumeMounts": { ".": {}, named("mountPath", "/etc/app"): owned(&[".", "f:mountPath", "f:name", "f:readOnly"]) },
    });
    let mut written = vec![json!({
        "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": TIME,
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {
                "f:annotations": owned(&[".", "f:checksum/config", "f:kubectl.kubernetes.io/restartedAt", "f:prometheus.io/port", "f:prometheus.io/scrape"]),
                "f:generateName": {},
                "f:labels": owned(&[".", "f:app", "f:app.kubernetes.io/instance", "f:app.kubernetes.io/managed-by", "f:app.kubernetes.io/name", "f:pod-template-hash", "f:tier", "f:version"]),
                "f:ownerReferences": { ".": {}, format!("k:{{\"uid\":\"{}\"}}", uid(i / 40, 4)): {} },
            },
            "f:spec": {
                "f:containers": { named("name", "app"): container },
                "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {}, "f:schedulerName": {},
                "f:securityContext": {}, "f:serviceAccount": {}, "f:serviceAccountName": {},
                "f:terminationGracePeriodSeconds": {},
                "f:volumes": { ".": {}, named("name", "config"): { ".": {}, "f:configMap": owned(&[".", "f:defaultMode", "f:name"]), "f:name": {} } },
            },
        },
    })];
    if started {
        let condition =
            owned(&[".", "f:lastProbeTime", "f:lastTransitionTime", "f:observedGeneration", "f:status", "f:type"]);
        let mut conditions = json!({});
        for kind in ["ContainersReady", "Initialized", "PodReadyToStartContainers", "Ready"] {
            conditions[named("type", kind)] = condition.clone();
        }
        written.push(json!({
            "manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": TIME, "fieldsType": "FieldsV1",
            "fieldsV1": { "f:status": {
                "f:conditions": conditions, "f:containerStatuses": {}, "f:hostIP": {}, "f:hostIPs": {}, "f:phase": {},
                "f:podIP": {}, "f:podIPs": { ".": {}, named("ip", "10.64.0.1"): owned(&[".", "f:ip"]) }, "f:startTime": {},
            } },
            "subresource": "status",
        }));
    }
    if scheduled && !started {
        let condition = owned(&[".", "f:lastProbeTime", "f:lastTransitionTime", "f:status", "f:type"]);
        written.push(json!({
            "manager": "kube-scheduler", "operation": "Update", "apiVersion": "v1", "time": TIME, "fieldsType": "FieldsV1",
            "fieldsV1": { "f:status": { "f:conditions": { ".": {}, named("type", "PodScheduled"): condition } } },
            "subresource": "status",
        }));
    }
    written.into()
}

fn variables() -> impl Iterator<Item = String> {
    ["LOG_LEVEL", "DATABASE_URL", "CACHE_URL", "FEATURE_FLAGS", "OTEL_EXPORTER_OTLP_ENDPOINT", "JAVA_TOOL_OPTIONS"]
        .into_iter()
        .map(str::to_owned)
}

fn spec(pod: &Value, i: usize, app: &str) -> Value {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let token = format!("kube-api-access-{}", &digits(i, 5)[..5]);
    let env: Vec<Value> = variables()
        .map(|name| json!({"name": name, "value": format!("https://{}.{namespace}.svc.cluster.local:8443/v1", name.to_lowercase())}))
        .collect();
    let probe = |path: &str| {
        json!({
            "httpGet": {"path": path, "port": "main", "scheme": "HTTP"}, "failureThreshold": 3, "periodSeconds": 10,
            "successThreshold": 1, "timeoutSeconds": 1,
        })
    };
    let mut container = json!({
        "name": "app",
        "image": format!("registry.example.com/platform/{app}:1.{}.3@sha256:{}", i / 40 % 90, digits(i / 40, 6).repeat(2)),
        "imagePullPolicy": "IfNotPresent",
        "env": env,
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "250m", "memory": "256Mi"}},
        "livenessProbe": probe("/healthz"),
        "readinessProbe": probe("/readyz"),
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"mountPath": "/etc/app", "name": "config", "readOnly": true},
            {"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": token, "readOnly": true},
        ],
    });
    container["ports"] = pod["spec"]["containers"][0]["ports"].clone();
    let toleration =
        |key: &str| json!({"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300});
    json!({
        "containers": [container],
        "nodeName": pod["spec"]["nodeName"],
        "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0, "restartPolicy": "Always", "schedulerName": "default-scheduler",
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "serviceAccount": app, "serviceAccountName": app, "terminationGracePeriodSeconds": 30,
        "tolerations": [toleration("node.kubernetes.io/not-ready"), toleration("node.kubernetes.io/unreachable")],
        "topologySpreadConstraints": [{
            "labelSelector": {"matchLabels": {"app.kubernetes.io/name": app}}, "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
        }],
        "volumes": [
            {"name": "config", "configMap": {"defaultMode": 420, "name": format!("{app}-config")}},
            {"name": token, "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
                {"downwardAPI": {"items": [
                    {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"},
                ]}},
            ]}},
        ],
    })
}

fn conditions(started: bool, running: bool, ready: bool) -> Value {
    let condition = |kind: &str, holds: bool| {
        json!({
            "type": kind, "status": if holds { "True" } else { "False" }, "lastProbeTime": null,
            "lastTransitionTime": TIME, "observedGeneration": 1,
        })
    };
    if !started {
        return json!([condition("PodScheduled", true)]);
    }
    json!([
        condition("PodReadyToStartContainers", running),
        condition("Initialized", true),
        condition("Ready", ready),
        condition("ContainersReady", ready),
        condition("PodScheduled", true),
    ])
}

fn container_statuses(i: usize, app: &str, running: bool, ready: bool) -> Value {
    let image = format!("registry.example.com/platform/{app}");
    let mut status = json!({
        "name": "app", "image": format!("{image}:1.{}.3", i / 40 % 90), "imageID": "", "lastState": {}, "ready": ready,
        "restartCount": 0, "started": running, "state": {"waiting": {"reason": "ContainerCreating"}},
    });
    if running {
        status["imageID"] = format!("{image}@sha256:{}", digits(i / 40, 6).repeat(2)).into();
        status["containerID"] = format!("containerd://{}", digits(i, 7).repeat(2)).into();
        status["state"] = json!({"running": {"startedAt": TIME}});
    }
    json!([status])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{Synthetic, read};
    use netsim_shared::object::{Life, Object};

    #[test]
    fn a_dressed_pod_says_the_same_to_policies_and_is_as_large_as_real_ones() {
        let cluster = Synthetic::new(200, 7, 0);
        for (i, plain) in cluster.pods().enumerate() {
            let whole = dressed(&plain, i);
            let size = whole.to_string().len();
            assert!((5_000..8_500).contains(&size), "{size}");
            let read = read([plain, whole].into_iter());
            assert!(read.diagnostics.is_empty(), "{:?}", read.diagnostics);
            let [Object::Pod(plain), Object::Pod(whole)] = read.objects.as_slice() else { panic!("two pods") };
            assert_eq!(
                (&plain.addresses, &plain.host_addresses, &plain.spec.node, &plain.spec.ports, plain.life),
                (&whole.addresses, &whole.host_addresses, &whole.spec.node, &whole.spec.ports, whole.life)
            );
            assert!(plain.spec.labels.iter().all(|(key, value)| whole.spec.labels.get(key) == Some(value)));
        }
    }

    #[test]
    fn a_pod_lives_as_pods_do() {
        let plain = Synthetic::new(1, 1, 0).pod(0);
        let lives = STAGES.map(|name| match read([stage(&plain, 0, name)].into_iter()).objects.as_slice() {
            [Object::Pod(pod)] => (pod.life, pod.spec.node.is_some(), pod.addresses.len()),
            other => panic!("{other:?}"),
        });
        let (waiting, live) = (Life::Waiting, Life::Live);
        assert_eq!(
            lives,
            [
                (waiting, false, 0),
                (waiting, true, 0),
                (waiting, true, 0),
                (live, true, 1),
                (live, true, 1),
                (live, true, 1),
                (Life::Terminal, true, 1)
            ]
        );
    }
}
