//! Binding, calling, refusing.
#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};
use tunnel_edge::{
    declare::Request,
    socket::{
        Administration, AuditQuery, BODY_MAX, BanPerson, Client, Explain, InviteUser, NamedOperator, NamedTunnel,
        NamedUser, RemovePasskeys, RenewCertificate, Replay, RevokeApplication, RotateKeys, RouteTunnel, Serving,
        Socket, SocketError, TestPolicy, UnbanPerson, WhichSessions, Who, WhosePasskeys,
    },
};
use tunnel_proto::{
    EmailAddress, OperatorId, UnixTime,
    enrol::{CreateTunnel, SOCKET_NAME},
};

use crate::socket::office::{Office, info, invited, passkey};

async fn serving() -> (TempDir, Arc<Office>, Serving) {
    let dir = tempfile::tempdir().unwrap();
    let office = Arc::new(Office::default());
    let serving = Socket::bind(dir.path()).await.unwrap().serve(office.clone());
    (dir, office, serving)
}

async fn client(dir: &Path) -> Client {
    Client::find(dir).await.unwrap().expect("an edge runs")
}

#[tokio::test]
async fn every_request_arrives_and_every_answer_comes_back() {
    let (dir, office, _serving) = serving().await;
    let client = client(dir.path()).await;
    assert_eq!(client.info().await.unwrap(), info());
    assert_eq!(client.tunnels().await, office.tunnels().await);
    assert_eq!(client.operators().await, office.operators().await);
    assert_eq!(client.sessions().await, office.sessions().await);
    assert_eq!(client.keys().await, office.keys().await);
    assert_eq!(client.applications().await, office.applications().await);
    assert_eq!(client.setup_link().await, office.setup_link().await);
    assert_eq!(client.restart().await, office.restart().await);
    assert_eq!(client.health().await, office.health().await);
    assert_eq!(client.users().await, office.users().await);
    assert_eq!(client.export().await, office.export().await, "an answer may be longer than a request");

    let hostnames = vec!["www.localhost".parse().unwrap()];
    let create = CreateTunnel { name: "office".parse().unwrap(), hostnames: hostnames.clone(), csr: "CSR".into() };
    let route = RouteTunnel { name: "office".parse().unwrap(), hostnames };
    let apply = Request { file: "access.yaml".into(), text: "tunnels: []".into(), dry_run: true, ..Request::default() };
    let which = WhichSessions::Email("a@example.com".parse().unwrap());
    client.create_tunnel(create.clone()).await.unwrap();
    client.route(route.clone()).await.unwrap();
    client.apply(apply.clone()).await.unwrap();
    client.end_sessions(which.clone()).await.unwrap();
    client.audit(AuditQuery { limit: u32::MAX }).await.unwrap();
    let office_tunnel = NamedTunnel { name: "office".parse().unwrap() };
    client.delete_tunnel(office_tunnel.clone()).await.unwrap();
    let laptop = NamedOperator { id: OperatorId::from_bytes([5; 16]) };
    assert_eq!(client.revoke_operator(laptop.clone()).await.unwrap().tunnels.len(), 1);
    assert_eq!(client.mail_log(AuditQuery { limit: 5 }).await.unwrap().len(), 1);
    let renew = RenewCertificate { name: "*.localhost".parse().unwrap() };
    client.renew_certificate(renew.clone()).await.unwrap();
    let rotate = RotateKeys { revoke_now: true };
    assert_eq!(client.rotate_keys(rotate).await.unwrap().len(), 1);
    assert_eq!(client.people().await, office.people().await);
    let email: EmailAddress = "a@example.com".parse().unwrap();
    let ban = BanPerson { email: email.clone(), reason: Some("left".into()) };
    assert_eq!(client.ban(ban.clone()).await.unwrap().ended, 2);
    let unban = UnbanPerson { email };
    client.unban(unban.clone()).await.unwrap();
    let anew = RevokeApplication { application: "www".parse().unwrap() };
    client.revoke_application(anew.clone()).await.unwrap();
    let application = "www".parse().unwrap();
    let (source, country, at, destination) = (None, Some("JP".parse().unwrap()), Some(UnixTime(7)), None);
    let test = TestPolicy { application, who: Who::Everyone, source, country, at, destination, evaluations: vec![] };
    assert_eq!(client.test_policy(test.clone()).await.unwrap().admitted, 1);
    let explain = Explain { reference: "7F3A-92C1-E08B".into() };
    client.explain(explain.clone()).await.unwrap();
    let replay = Replay { declaration: Some(apply.clone()), since: UnixTime(3) };
    assert_eq!(client.replay(replay.clone()).await.unwrap().decisions, 5);
    let email: EmailAddress = "b@example.com".parse().unwrap();
    let (guest, named) =
        (InviteUser { email: email.clone(), name: Some("B".into()) }, NamedUser { email: email.clone() });
    assert_eq!(client.invite_user(guest.clone()).await.unwrap(), invited(email.clone()));
    assert_eq!(client.reset_user(named.clone()).await.unwrap(), invited(email));
    assert_eq!(client.remove_user(named.clone()).await.unwrap().sessions, 2);
    let whose = WhosePasskeys { email: Some(named.email.clone()) };
    let listed = client.passkeys(whose.clone()).await.unwrap();
    assert_eq!((listed.passkeys, listed.truncated), (vec![passkey()], true));
    let remove = RemovePasskeys { email: named.email.clone(), id: Some("cdcdcdcd".into()) };
    let removed = client.remove_passkeys(remove.clone()).await.unwrap();
    assert_eq!((removed.passkeys, removed.sessions), (vec![passkey()], 2));
    let expected = [
        format!("{create:?}"),
        format!("{route:?}"),
        format!("{apply:?}"),
        format!("{which:?}"),
        format!("{:?}", AuditQuery { limit: 10_000 }),
        format!("{office_tunnel:?}"),
        format!("{laptop:?}"),
        format!("{:?}", AuditQuery { limit: 5 }),
        format!("{renew:?}"),
        format!("{rotate:?}"),
        format!("{ban:?}"),
        format!("{unban:?}"),
        format!("{anew:?}"),
        format!("{test:?}"),
        format!("{explain:?}"),
        format!("{replay:?}"),
        format!("{guest:?}"),
        format!("{named:?}"),
        format!("{named:?}"),
        format!("{whose:?}"),
        format!("{remove:?}"),
    ];
    assert_eq!(*office.asked.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_refusal_keeps_its_code_and_its_words() {
    let (dir, _office, _serving) = serving().await;
    let client = client(dir.path()).await;
    let create = CreateTunnel { name: "taken".parse().unwrap(), hostnames: vec![], csr: String::new() };
    let problem = client.create_tunnel(create).await.unwrap_err();
    assert_eq!(problem.code, "hostname_taken");
    assert!(problem.message.contains("`office`"));
    let problem = client.revoke_tunnel(NamedTunnel { name: "x".parse().unwrap() }).await.unwrap_err();
    assert_eq!(problem.code, "unknown_tunnel");
}

async fn raw(dir: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(dir.join(SOCKET_NAME)).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let send = async {
        let _ = write.write_all(request).await;
    };
    tokio::join!(send, async {
        let _ = read.read_to_end(&mut answer).await;
    });
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").into()
}

// A3, A4
#[tokio::test]
async fn what_cannot_be_understood_is_refused_in_json_and_reaches_nobody() {
    let (dir, office, _serving) = serving().await;
    let (long, most) = ("x".repeat(BODY_MAX + 1), BODY_MAX.to_string());
    for (request, status, says) in [
        (post("/v1/tunnels", "{"), "400", "cannot be understood"),
        (post("/v1/tunnels", r#"{"name":"a","hostnames":[],"csr":"","admin":true}"#), "400", "admin"),
        (post("/v1/tunnels", r#"{"name":"A B","hostnames":[],"csr":""}"#), "400", "not a name"),
        (post("/v1/tunnels/route", r#"{"name":"a","hostnames":["a b"]}"#), "400", "hostname"),
        (post("/v1/apply", &long), "413", &most),
        (post("/v1/nothing", ""), "404", "no such request"),
    ] {
        let answer = raw(dir.path(), &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(r#"{"code":""#) && answer.contains(says), "{answer}");
    }
    for garbage in [&b"\x16\x03\x01 not http\r\n\r\n"[..], b"GET /v1/info\r\n\r\n"] {
        let answer = raw(dir.path(), garbage).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    assert!(office.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_socket_is_its_owners_and_goes_with_the_edge() {
    let (dir, _office, serving) = serving().await;
    let path = dir.path().join(SOCKET_NAME);
    let found = fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let client = client(dir.path()).await;
    serving.stop().await;
    assert!(!path.exists());
    assert!(Client::find(dir.path()).await.unwrap().is_none());
    assert_eq!(client.info().await.unwrap_err().code, "edge_unreachable");
    // And another may begin at once.
    drop(Socket::bind(dir.path()).await.unwrap());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_second_edge_is_told_that_one_runs() {
    let (dir, _office, _serving) = serving().await;
    let error = Socket::bind(dir.path()).await.unwrap_err();
    assert!(matches!(error, SocketError::Running { .. }), "{error:?}");
    assert!(error.to_string().contains("an edge already runs on this data directory"), "{error}");
    assert!(client(dir.path()).await.info().await.is_ok(), "the first one goes on");
}

#[tokio::test]
async fn what_a_dead_edge_left_is_removed_but_a_living_socket_and_a_file_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(SOCKET_NAME);
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(Socket::bind(dir.path()).await.expect("the dead one's socket is removed"));

    let living = UnixListener::bind(&path).unwrap();
    assert!(matches!(Socket::bind(dir.path()).await, Err(SocketError::Running { .. })));
    drop(living);
    fs::remove_file(&path).unwrap();

    fs::write(&path, "mine").unwrap();
    let error = Socket::bind(dir.path()).await.unwrap_err();
    assert!(matches!(error, SocketError::Io { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test]
async fn of_many_edges_that_start_at_once_one_does() {
    let dir = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap());
    let starts = futures::future::join_all((0..20).map(|_| Socket::bind(dir.path()))).await;
    assert_eq!(starts.iter().filter(|start| start.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_said_to_be() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("d".repeat(100));
    fs::create_dir(&dir).unwrap();
    for error in [Socket::bind(&dir).await.map(drop).unwrap_err(), Client::find(&dir).await.map(drop).unwrap_err()] {
        assert!(matches!(error, SocketError::TooLong { .. }), "{error:?}");
        assert!(error.to_string().contains("100 bytes"), "{error}");
    }
}

#[tokio::test]
async fn what_was_asked_before_the_stop_is_answered() {
    let (dir, _office, serving) = serving().await;
    let mut stream = UnixStream::connect(dir.path().join(SOCKET_NAME)).await.unwrap();
    let request = post("/v1/setup-link", "");
    let (head, rest) = request.split_at(20);
    stream.write_all(head).await.unwrap();
    // Seen by the server before it is stopped: another connection is answered meanwhile.
    client(dir.path()).await.info().await.unwrap();
    let finish = async {
        stream.write_all(rest).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (answer, ()) = tokio::join!(finish, serving.stop());
    assert!(answer.contains("token=T"), "{answer}");
}
