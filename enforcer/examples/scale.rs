use netsim_enforcer::render::*;
use netsim_enforcer::ruleset::text::table;
use netsim_enforcer::transaction::*;
use netsim_shared::compile::*;
use netsim_testkit::synthetic::Synthetic;
use std::time::Instant;
fn main() {
    let s = Synthetic::new(50_000, 500, 10);
    let mut vals: Vec<serde_json::Value> = s.values().collect();
    let mut i = 0;
    for v in vals.iter_mut() {
        if v["kind"] == "Pod" {
            v["spec"]["nodeName"] = format!("node-{}", i % 455).into();
            i += 1;
        }
    }
    let ing = netsim_testkit::synthetic::read(vals.into_iter());
    let index = netsim_shared::cluster::ClusterIndex::new(
        ing.objects.into_iter().filter(|o| !matches!(o, netsim_shared::object::Object::Workload(_))),
    );
    let t = Instant::now();
    let c = Compiled::new(&index, &Modes::default());
    println!("compile {:?}", t.elapsed());
    let o = Options { node: "node-7".into(), ..Default::default() };
    let mut r = Renderer::new(o);
    for _ in 0..40 {
        let t = Instant::now();
        r.update(&c, &Changed::Anything);
        println!("full {:?}", t.elapsed());
    }
    let rs = r.ruleset().clone();
    println!(
        "local {} classes {} sets {} chains {} elements {}",
        r.local_pods(),
        r.classes(),
        rs.sets.len(),
        rs.chains.len(),
        rs.sets.values().map(|s| s.elements.len()).sum::<usize>()
    );
    let t = Instant::now();
    let tx = replace(false, &rs);
    println!("replace {:?} size {}", t.elapsed(), tx.size());
    let addr = c.entries().nth(777).unwrap().1.endpoint.addresses;
    println!("{addr:?}");
    let a = match addr.get(netsim_shared::net::Family::V4) {
        Address::Known(a) => *a,
        _ => panic!(),
    };
    let t = Instant::now();
    for _ in 0..1000 {
        r.update(&c, &Changed::PodsAt(vec![a]));
    }
    println!("remote {:?}/1000", t.elapsed());
    let t = Instant::now();
    let n = r.ruleset().clone();
    println!("clone {:?}", t.elapsed());
    let t = Instant::now();
    println!("{}", between(&rs, &n).size());
    println!("between {:?}", t.elapsed());
    std::fs::write("/tmp/x/rules.nft", table("netsim", &rs)).unwrap();
}
