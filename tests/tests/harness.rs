//! The harness tested by itself: a lab in which nothing is under test, so that a failure elsewhere means the product.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tunnel_tests::{
    AccessNetwork, Browser, Canary, Door, Lab, Smtp, Visitor,
    access_network::{EDGE_V4, EDGE_V6},
    browser::BrowserOptions,
    canary::SONG,
    netns::{Netns, cable},
    origin::{Nginx, Streams},
    process::finish,
    run,
};

mod harness {
    mod distance;
    mod hostile;
    mod passkeys;
    mod providers;
    mod scale;
}

#[test]
fn the_canary_hears_exactly_what_was_sent() {
    run("canary", async |_| {
        let canary = Canary::start().await?;
        canary.assert_heard_nothing("nothing was sent");
        let request =
            b"POST /x?y HTTP/1.1\r\nHost: a\r\nX-Case_d: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let answer = Door::plain(canary.address()).ask(request).await?;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.text(), SONG);
        assert_eq!(canary.everything(), request);
        let heads = canary.heads();
        assert_eq!((heads[0].method(), heads[0].target(), heads[0].one("x-case_d")), ("POST", "/x?y", "1"));
        assert_eq!(heads[0].body, b"abc");
        Ok(())
    });
}

#[test]
fn a_browser_sees_what_nginx_serves() {
    run("browser", async |lab| {
        let nginx = Nginx::start(&lab, 80, "<h1>Here I am</h1>").await?;
        let mut browser = Browser::start(&lab, BrowserOptions::default()).await?;
        assert_eq!(browser.open("http://www.example.test/deep/page?x=1").await?, 200);
        assert_eq!(browser.text().await?, "Here I am");
        assert_eq!(browser.url().await?, "http://www.example.test/deep/page?x=1");
        assert!(nginx.access_log()?.contains("/deep/page?x=1"));
        Ok(())
    });
}

#[test]
fn a_mail_arrives_and_its_code_is_read() {
    run("mail", async |lab: Lab| {
        let smtp = Smtp::start(&lab).await?;
        let mut raw = Door::plain("127.0.0.1:1025".parse()?).open().await?;
        raw.send(b"HELO x\r\nMAIL FROM:<a@example.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n").await?;
        raw.send(b"Content-Type: text/plain\r\n\r\nhello\r\n\r\n    1234 5678\r\n\r\nbye\r\n.\r\nQUIT\r\n").await?;
        raw.rest().await?;
        assert_eq!(smtp.mail_to("b@example.test", 1).await?.pin()?, "12345678");
        Ok(())
    });
}

#[test]
fn events_and_bytes_come_from_the_small_server() {
    run("streams", async |_| {
        let streams = Streams::start().await?;
        let address = streams.url().trim_start_matches("http://").parse()?;
        let mut visitor = Visitor::plain(address);
        let reply = visitor.get("http://a/bytes/100000").await?;
        assert_eq!(reply.answer.body.len(), 100_000);
        let mut raw = Door::plain(address).open().await?;
        raw.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        let mut got = String::new();
        while !got.contains(": open") {
            got += &String::from_utf8_lossy(&raw.read().await?);
        }
        assert_eq!(streams.say("one"), 1);
        while !got.contains("data: one\n\n") {
            got += &String::from_utf8_lossy(&raw.read().await?);
        }
        Ok(())
    });
}

#[test]
fn namespaces_are_joined_by_cables_and_apart_otherwise() {
    run("cables", async |_| -> Result<()> {
        let (a, b) = (Netns::new("a")?, Netns::new("b")?);
        let listener = b.inside(async { tokio::net::TcpListener::bind("0.0.0.0:7").await?.into_std() })?;
        let knock = || a.inside(async { tokio::net::TcpStream::connect("192.0.2.2:7").await.is_ok() });
        assert!(!knock(), "without a cable nobody gets there");
        cable((&a, "to-b", "192.0.2.1/24"), (&b, "to-a", "192.0.2.2/24"))?;
        assert!(knock());
        drop(listener);
        let mut addresses = a.command("ip");
        addresses.arg("addr");
        let seen = finish(addresses).await?.ok()?;
        assert!(seen.contains("192.0.2.1"));
        Ok(())
    });
}

/// The positive and negative control of every access network: the inside gets out, the outside does not get in.
#[test]
fn access_networks_let_out_and_do_not_let_in() {
    run("networks", async |lab| -> Result<()> {
        let black_hole = AccessNetwork::black_hole(1280);
        for (name, net, inside, outside) in [
            ("nat", AccessNetwork::behind_nat()?, "192.168.1.10", EDGE_V4),
            ("ipv6", AccessNetwork::ipv6_only()?, "2001:db8:1::10", EDGE_V6),
            ("ds-lite", AccessNetwork::ds_lite()?, "192.168.1.10", EDGE_V4),
            ("map-e", AccessNetwork::map_e()?, "192.168.1.10", EDGE_V4),
            ("black-hole", black_hole?, "192.168.1.10", EDGE_V4),
        ] {
            let serve = |net: &Netns, address: &str| {
                let address = SocketAddr::new(address.parse().unwrap(), 7);
                net.inside(async move { TcpListener::bind(address).await?.into_std() })
            };
            let knock = |net: &Netns, address: &str, patience: u64| {
                let address = SocketAddr::new(address.parse().unwrap(), 7);
                net.inside(async move {
                    timeout(Duration::from_millis(patience), TcpStream::connect(address)).await.is_ok_and(|r| r.is_ok())
                })
            };
            let (_inner, _outer) = (serve(&net.lan, inside)?, serve(&net.wan, outside)?);
            let capture = net.capture(&lab).await?;
            assert!(knock(&net.lan, outside, 5_000), "{name}: the inside gets out");
            assert!(!knock(&net.wan, inside, 400), "{name}: the outside does not get in");
            assert!(capture.stop().await?.len() > 200, "{name}: the capture has the packets");
        }
        Ok(())
    });
}

#[test]
fn a_black_hole_swallows_big_packets_without_a_word() {
    run("black-hole", async |_| -> Result<()> {
        let net = AccessNetwork::black_hole(1280)?;
        let listener = net.wan.inside(async { TcpListener::bind((EDGE_V4, 7)).await?.into_std() })?;
        let transfer = |bytes: usize| {
            let listener = listener.try_clone().unwrap();
            std::thread::scope(|scope| {
                let receiving = scope.spawn(|| {
                    net.wan.inside(async {
                        let (mut stream, _) = TcpListener::from_std(listener)?.accept().await?;
                        let mut got = vec![0; bytes];
                        let read = timeout(Duration::from_secs(2), stream.read_exact(&mut got)).await;
                        std::io::Result::Ok(read.is_ok_and(|r| r.is_ok()))
                    })
                });
                net.lan.inside(async {
                    let mut stream = TcpStream::connect((EDGE_V4, 7)).await?;
                    stream.write_all(&vec![7; bytes]).await?;
                    receiving.join().unwrap()
                })
            })
        };
        assert!(transfer(1000)?, "a small packet passes");
        assert!(!transfer(1400)?, "a big one does not");
        Ok(())
    });
}
