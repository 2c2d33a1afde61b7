//! Properties of paths: patterns agree with backtracking, and no reading escapes.

use proptest::prelude::*;

use crate::{
    declare::{app, host, set_of},
    slow::covers,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn patterns_agree_with_backtracking(pattern in "(/[ab*]{1,4}){1,3}", path in "(/[ab]{0,4}){1,4}") {
        if let Ok(pattern) = pattern.parse::<tunnel_policy::PathPattern>() {
            prop_assert_eq!(pattern.covers(&path), covers(Some(&pattern), &path), "{} {}", pattern, path);
        }
    }

    // H1: a server is a sequence of steps over the path. Whichever it takes, the application it arrives at must admit.
    #[test]
    fn the_application_that_any_server_reads_is_among_those_that_must_admit(
        path in path(), steps in prop::collection::vec(0..STEPS.len(), 0..5),
    ) {
        let apps = [
            app("a", "x.example/a", &[]),
            app("ab", "x.example/a/b", &[]),
            app("b", "x.example/b*", &[]),
            app("star", "x.example/*/a", &[]),
        ];
        let set = set_of(&[], &[], &apps).expect("a good set");
        let host = host("x.example");
        let matched = set.applications_for(&host, &path);

        let decodings = steps.iter().filter(|step| **step == 0).count();
        prop_assume!(decodings <= 2);
        let read = steps.iter().fold(path.clone(), |path, step| STEPS[*step](&path));
        let under: Vec<_> = apps.iter().filter(|app| covers(app.targets[0].path.as_ref(), &read)).collect();
        match under.iter().max_by(|a, b| a.targets[0].path.as_ref().map(|p| p.specificity()).cmp(&b.targets[0].path.as_ref().map(|p| p.specificity()))) {
            None => prop_assert!(matched.required().is_none(), "{} is read as {}, which is nobody's", path, read),
            Some(app) => {
                let named = matched.raw.into_iter().chain(matched.others.iter().copied()).any(|named| named.id == app.id);
                prop_assert!(named, "{} is read as {}, which is {}", path, read, app.name);
            }
        }
    }

    #[test]
    fn a_path_of_any_bytes_is_survived(path in "\\PC{0,64}|[/.%2ef5c;\\\\]{0,64}") {
        let set = set_of(&[], &[], &[app("a", "x.example/a", &[])]).expect("a good set");
        let host = host("x.example");
        let _ = set.applications_for(&host, &path).required().is_some();
        let _ = tunnel_policy::is_reserved(&path);
    }
}

/// Paths made of the pieces that tricks are made of.
fn path() -> impl Strategy<Value = String> {
    let pieces = [
        "a", "b", "A", "/", "//", ".", "..", "%2e", "%2E", "%252e", "%2f", "%5c", "\\", ";", ";x", "%61", "%2561",
        "%00", "%3f", "x",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..10)
        .prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// What servers do to paths, written independently of the engine and in terms of text.
const STEPS: [fn(&str) -> String; 6] = [
    |path| {
        let mut out = String::new();
        let mut rest = path;
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) => {
                    out.push(char::from(byte));
                    rest = &after[2..];
                }
                None => {
                    out.push('%');
                    rest = after;
                }
            }
        }
        out + rest
    },
    |path| path.replace('\\', "/"),
    |path| {
        path.split('/')
            .map(|segment| segment.split_once(';').map_or(segment, |(name, _)| name))
            .collect::<Vec<_>>()
            .join("/")
    },
    |path| {
        let mut out: Vec<&str> = vec![""];
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        for (n, segment) in segments.iter().enumerate() {
            let last = n + 1 == segments.len();
            match *segment {
                "." => {}
                ".." => {
                    if out.len() > 1 {
                        out.pop();
                    }
                }
                name => out.push(name),
            }
            if last && matches!(*segment, "." | "..") {
                out.push("");
            }
        }
        if out.len() == 1 { "/".to_owned() } else { out.join("/") }
    },
    |path| {
        let mut path = path.to_owned();
        while path.contains("//") {
            path = path.replace("//", "/");
        }
        path
    },
    |path| path.split(['\0', '?', '#']).next().unwrap_or_default().to_owned(),
];
