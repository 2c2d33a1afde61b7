//! What a run is made on, and with which programs.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::{process, results::Machine, ways::Tools};

/// This machine.
pub(crate) fn machine() -> Machine {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let after = |text: &str, begin: &str, split: char| {
        let line = text.lines().find(|line| line.starts_with(begin));
        line.and_then(|line| Some(line.split_once(split)?.1.trim().trim_matches('"').to_owned())).unwrap_or_default()
    };
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let flags = after(&cpu, "flags", ':');
    let has = |flag: &str, name: &str| {
        let there = flags.split(' ').any(|one| one == flag);
        if there { name.to_owned() } else { format!("no {name}") }
    };
    let kib: f64 = after(&memory, "MemTotal", ':').trim_end_matches("kB").trim().parse().unwrap_or_default();
    Machine {
        processor: format!(
            "{} (family {}, model {}; {}, {}, {})",
            after(&cpu, "model name", ':'),
            after(&cpu, "cpu family", ':'),
            after(&cpu, "model\t", ':'),
            has("aes", "AES-NI"),
            has("vaes", "VAES"),
            has("avx512f", "AVX-512")
        ),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory_gib: kib / 1024.0 / 1024.0,
        kernel: read("/proc/sys/kernel/osrelease").trim().split('-').next().unwrap_or_default().to_owned(),
        system: after(&read("/etc/os-release"), "PRETTY_NAME", '='),
        load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
    }
}

/// The programs and what each says of its version.
pub(crate) fn versions(tools: &Tools) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let peers = [
        ("rathole", "--version"),
        ("bore", "--version"),
        ("ssh", "-V"),
        ("stunnel4", "-version"),
        ("haproxy", "-v"),
        ("nginx", "-v"),
        ("openssl", "version"),
        ("wrk", "-v"),
    ];
    for (name, flag) in peers {
        let program = process::find(name, &tools.peers);
        all.insert(
            name.trim_end_matches('4').to_owned(),
            program.map_or("not there".into(), |program| said(&program, flag)),
        );
    }
    for (label, bin) in &tools.ours {
        for name in ["edge", "connector", "access"] {
            let key = if label.is_empty() { name.to_owned() } else { format!("{name} ({label})") };
            all.insert(key, said(&bin.join(name), "--version"));
        }
    }
    all
}

/// The line of what a program says that has its version, without the build's date or address.
fn said(program: &Path, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else { return "not there".into() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    // A time of day looks like one.
    let with_number = text.lines().filter(|line| !line.contains("Timestamp")).find(|line| {
        let version = line.split(|c: char| !c.is_ascii_digit() && c != '.').find(|word| word.contains('.'));
        version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
    });
    let line = with_number.or(text.lines().next()).unwrap_or("unknown");
    line.split(" [")
        .next()
        .unwrap_or(line)
        .split(" - http")
        .next()
        .unwrap_or(line)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
