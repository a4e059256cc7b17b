//! The documents for operators, block by block, as they stand there: after each, packets show what
//! it has done.

use crate::life::only;
use crate::server::SYSTEM;
use crate::world::World;
use netsim_testkit::command::text_of;
use netsim_testkit::documents::blocks;
use serde_json::json;

const DOCUMENTS: [&str; 2] = ["README.md", "deploy/README.md"];

pub fn word_by_word() {
    for document in DOCUMENTS {
        let blocks: Vec<_> = blocks(document, &text_of(document)).into_iter().filter(|b| b.is_marked("e2e")).collect();
        assert!(!blocks.is_empty(), "{document} has no block for these tests");
        let world = World::new(document);
        let policy = world.policy("shop", "db", only(json!([{"podSelector": {"matchLabels": {"app": "web"}}}])));
        world.apply(&policy);
        world.assert_open("before the first block");
        let mut was_there = false;
        for block in blocks {
            println!("{}", block.place);
            let printed = world.shell.run(&block.lines.join("\n"));
            assert_eq!(printed.code, 0, "{}: {}{}", block.place, printed.out, printed.err);
            if let Some(output) = block.output {
                assert_eq!(printed.out, output, "{}", block.place);
            }
            let agents = format!("/apis/apps/v1/namespaces/{SYSTEM}/daemonsets/netsim-enforcer");
            if world.server.get(&agents).is_some() {
                world.assert_reach(&block.place, &["client>db", "job>db", "visitor>db"]);
                was_there = true;
            } else if was_there {
                world.assert_clean();
                world.assert_open(&block.place);
            }
        }
        assert!(was_there, "{document}: no block has deployed anything");
        world.server.assert_nothing_left();
        world.assert_no_refusal();
    }
}
