//! What the hot pieces of the path cost, in instructions, held against a table: a change that makes one dearer says so itself.
//!
//! Instructions are counted, not time: how many there are does not depend on what else the machine does. It depends on the
//! compiler and on what the processor has for cryptography, so that the table says of which they are; with others the figures are
//! printed and held against nothing.

use std::{collections::BTreeMap, fmt::Write as _, fs, process::Command};

use serde::Deserialize;
use tunnel_tests::process::program;

use crate::root;

/// What a piece may cost more than the table says, and from how much less on the table should be written anew, in per cent.
const ROOM: u64 = 5;
/// The function in which pieces run, as callgrind names it.
const COUNTED: &str = "tunnel_benches::pieces::Piece::counted";
/// Where the table is.
const TABLE: &str = "benches/instructions.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// What `rustc --version` says.
    rustc: String,
    /// Of which processors they are.
    architecture: String,
    /// What of it cryptography chooses its code by.
    processor: String,
    /// Instructions of each piece, run once, where the compiler worked incrementally.
    incremental: BTreeMap<String, u64>,
    /// The same where it did not.
    whole: BTreeMap<String, u64>,
}

/// What cryptography chooses its code by, as this processor has it.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let has = [
        ("AES", std::is_x86_feature_detected!("aes")),
        ("VAES", std::is_x86_feature_detected!("vaes")),
        ("AVX-512", std::is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let has: [(&str, bool); 0] = [];
    let names: Vec<_> = has.into_iter().filter_map(|(name, has)| has.then_some(name)).collect();
    names.join(", ")
}

/// Counts the instructions of every piece, run once: of `2n` runs those of `n` runs are taken away, and what is once only with
/// them.
fn count() -> Vec<(String, u64)> {
    let dir = tempfile::tempdir().unwrap();
    let mut counting = Command::new("valgrind");
    counting.args(["--tool=callgrind", "--quiet", "--vgdb=no", "--fair-sched=no"]);
    counting.arg(format!("--callgrind-out-file={}", dir.path().join("counts").display()));
    counting.args([format!("--toggle-collect={COUNTED}"), format!("--dump-after={COUNTED}")]);
    let output = counting.arg(program("examples/pieces").unwrap()).output().expect("valgrind is installed (tests/run)");
    let (said, problems) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{problems}");
    let mut dumps = (1..).map_while(|number| fs::read_to_string(dir.path().join(format!("counts.{number}"))).ok());
    let mut next = || {
        let dump = dumps.next().unwrap_or_else(|| panic!("callgrind wrote too little, after {said}{problems}"));
        let totals = dump.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a dump has a sum");
        totals.trim().parse::<u64>().unwrap()
    };
    let pieces = said.lines().map(|line| {
        let (name, times) = line.split_once('\t').expect("a piece and how often");
        let (once, twice) = (next(), next());
        assert!(once > 0 && twice > once, "{name}: {once} and {twice} instructions");
        (name.to_owned(), (twice - once) / times.parse::<u64>().unwrap())
    });
    pieces.collect()
}

#[test]
fn no_hot_piece_takes_more_instructions_than_the_table_allows() {
    let table: Table = toml::from_str(&fs::read_to_string(root().join(TABLE)).unwrap()).unwrap();
    let compiler = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output();
    let compiler = String::from_utf8(compiler.unwrap().stdout).unwrap();
    let incremental = std::env::var("CARGO_INCREMENTAL").map_or(true, |set| set != "0");
    let is_comparable = compiler.trim() == table.rustc
        && std::env::consts::ARCH == table.architecture
        && processor() == table.processor;
    let listed = if incremental { &table.incremental } else { &table.whole };
    let mut counted = count();
    let dear =
        |(name, count): &(String, u64)| listed.get(name).is_some_and(|listed| *count > listed + listed * ROOM / 100);
    if counted.iter().any(dear) {
        // On a busy machine what waits is sometimes looked at once more than it need be.
        counted.iter_mut().zip(count()).for_each(|(first, second)| first.1 = first.1.min(second.1));
    }
    let (mut shown, mut lower, mut dearer) = (String::new(), Vec::new(), Vec::new());
    for (name, count) in &counted {
        let allowed = listed.get(name).map(|listed| listed + listed * ROOM / 100);
        let limit = allowed.map_or_else(|| "not listed".to_owned(), |allowed| format!("{allowed} allowed"));
        writeln!(shown, "{name}: {count} instructions, {limit}").unwrap();
        match listed.get(name) {
            Some(listed) if *count > listed + listed * ROOM / 100 => dearer.push(&**name),
            Some(listed) if *count < listed - listed * ROOM / 100 => lower.push(&**name),
            Some(_) => {}
            None => dearer.push(&**name),
        }
    }
    println!("{shown}");
    let written: String = counted.iter().map(|(name, count)| format!("{name:?} = {count}\n")).collect();
    if !is_comparable {
        println!(
            "{TABLE} is of {} on {} ({}): nothing is held against it. This is of {} ({}):\n{written}",
            table.rustc,
            table.architecture,
            table.processor,
            compiler.trim(),
            processor()
        );
        return;
    }
    if !lower.is_empty() {
        println!("These cost less by now, so that {TABLE} can be lowered: {}", lower.join(", "));
    }
    let gone: Vec<_> = listed.keys().filter(|name| !counted.iter().any(|(counted, _)| counted == *name)).collect();
    assert!(gone.is_empty(), "{TABLE} lists what is no piece any more: {gone:?}");
    let advice = "If that is meant, write it into the table and say why in the commit";
    assert!(dearer.is_empty(), "more than {TABLE} allows, or not in it: {dearer:?}\n{shown}\n{advice}:\n{written}");
}
