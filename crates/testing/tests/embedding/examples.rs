//! The examples do what they say: each is run as it was built, with a real edge beside it.

use std::{path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};
use tunnel_testing::Edge;

use crate::keys::audience;

const PATIENCE: Duration = Duration::from_secs(30);

/// The example `name`, which was built beside this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    assert!(path.is_file(), "{} is not built: `cargo build --workspace --all-targets` does it", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// An example of the client, which believes this edge as any program on the machine would: by the system's certificates.
fn client(name: &str, edge: &Edge) -> Command {
    let file = edge.dir().join("ca.pem");
    std::fs::write(&file, edge.ca_pem()).unwrap();
    let mut command = example(name);
    command.env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
    command
}

/// Runs an example of the origin until the edge can reach what it publishes.
async fn publish(edge: &Edge, name: &str, more: &[&str]) -> Child {
    let mut program = example(name).arg(data_dir(edge)).args(more).spawn().unwrap();
    let reached = async {
        while edge.inner().state().registry.all().is_empty() {
            assert_eq!(program.try_wait().unwrap(), None, "{name} goes on");
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap();
    program
}

fn data_dir(edge: &Edge) -> PathBuf {
    edge.inner().state().config.data_dir.clone()
}

/// Lets a program in as ann, by what it shows: `open URL, and compare CODE`.
async fn let_in(edge: &Edge, shown: &str) {
    let (url, code) = shown.strip_prefix("open ").unwrap().split_once(", and compare ").unwrap();
    edge.visitor().approve(url, code, "ann@example.com").await.unwrap();
}

async fn line(lines: &mut Lines<impl AsyncBufRead + Unpin>) -> String {
    timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().expect("it says something")
}

/// What ann gets to see at `hostname`.
async fn ann_sees(edge: &Edge, hostname: &str) -> (u16, String) {
    let mut ann = edge.login_as(hostname, "ann@example.com").await.unwrap();
    let answer = ann.get(&edge.url(hostname, "/")).await.unwrap();
    (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
}

#[tokio::test]
async fn the_example_of_the_whole_greets_who_logged_in() {
    let output = timeout(PATIENCE, example("whole").output()).await.unwrap().unwrap();
    let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(said, ("hi ann@example.com\n".into(), "".into()));
}

#[tokio::test]
async fn the_axum_example_greets_whom_the_edge_admits_and_nobody_else_arrives() {
    let edge = Edge::start().await.unwrap();
    edge.admit("app.localhost", &["ann@example.com"]).await.unwrap();
    let _program = publish(&edge, "axum", &[]).await;
    assert_eq!(ann_sees(&edge, "app.localhost").await, (200, "hi ann@example.com".to_owned()));
    let stranger = edge.visitor().get(&edge.url("app.localhost", "/")).await.unwrap();
    assert!(stranger.status().is_redirection(), "{stranger:?}");
}

#[tokio::test]
async fn the_verify_example_lets_in_whom_the_edge_vouches_for_and_nobody_else() {
    let edge = Edge::start().await.unwrap();
    edge.admit("app.localhost", &["ann@example.com"]).await.unwrap();
    let mut verify = client("verify", &edge);
    verify.args([edge.url("access.localhost", ""), audience(&edge).await.to_string()]);
    let mut program = verify.spawn().unwrap();
    let mut said = BufReader::new(program.stdout.take().unwrap()).lines();
    let listening = line(&mut said).await;
    let address = listening.strip_prefix("listening at ").unwrap();
    let origin = edge.origin().connect().await.unwrap();
    let _published = origin.http("app.localhost").forward(&format!("http://{address}")).await.unwrap();
    assert_eq!(ann_sees(&edge, "app.localhost").await, (200, "hi ann@example.com".to_owned()));
    let mut past = TcpStream::connect(address).await.unwrap();
    past.write_all(b"GET / HTTP/1.1\r\nhost: app.localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, past.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn the_forward_example_publishes_a_web_server_until_it_is_asked_to_stop() {
    let edge = Edge::start().await.unwrap();
    edge.admit("www.localhost", &["ann@example.com"]).await.unwrap();
    let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", web.local_addr().unwrap());
    let page = axum::Router::new().route("/", axum::routing::get(async || "from the web server"));
    tokio::spawn(async move { axum::serve(web, page).await });
    let mut program = publish(&edge, "forward", &[&url]).await;
    assert_eq!(ann_sees(&edge, "www.localhost").await, (200, "from the web server".to_owned()));
    interrupt(&program).await;
    assert!(timeout(PATIENCE, program.wait()).await.unwrap().unwrap().success(), "it ends in order");
    assert!(edge.inner().state().registry.all().is_empty(), "and says so to the edge");
}

#[tokio::test]
async fn the_examples_of_tcp_and_of_connecting_say_to_each_other_who_connected() {
    let edge = Edge::start().await.unwrap();
    edge.admit("echo.localhost", &["ann@example.com"]).await.unwrap();
    let _program = publish(&edge, "tcp", &[]).await;
    let mut ann = client("connect", &edge).arg(edge.host("echo.localhost")).spawn().unwrap();
    let mut asked = BufReader::new(ann.stderr.take().unwrap()).lines();
    let_in(&edge, &line(&mut asked).await).await;
    let output = timeout(PATIENCE, ann.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((output.status.success(), &output.stdout[..]), (true, &b"hi ann@example.com\n"[..]));
}

#[tokio::test]
async fn the_port_example_keeps_its_login_for_the_next_time() {
    let edge = Edge::start().await.unwrap();
    edge.admit("echo.localhost", &["ann@example.com"]).await.unwrap();
    let _program = publish(&edge, "tcp", &[]).await;
    for first in [true, false] {
        let mut port = client("port", &edge);
        port.args([&edge.host("echo.localhost"), "127.0.0.1:0"]).arg(edge.dir().join("logins"));
        let mut program = port.spawn().unwrap();
        let mut said = BufReader::new(program.stdout.take().unwrap()).lines();
        let listening = line(&mut said).await;
        let mut stream = TcpStream::connect(listening.strip_prefix("listening at ").unwrap()).await.unwrap();
        if first {
            let_in(&edge, &line(&mut said).await).await;
        }
        let mut greeting = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut greeting)).await.unwrap().unwrap();
        assert_eq!(greeting, "hi ann@example.com\n");
        interrupt(&program).await;
        assert!(timeout(PATIENCE, program.wait()).await.unwrap().unwrap().success());
        assert_eq!(said.next_line().await.unwrap(), None, "nobody was asked again");
    }
}

/// What Ctrl+C does.
async fn interrupt(program: &Child) {
    let id = program.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
}
