//! The canary's other voice: HTTP/2 without TLS. What comes on a stream is kept as HTTP/1 would have it, what a DATA
//! frame brings as a chunk, so that whoever reads it needs one way for both.

use std::{future::poll_fn, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{self, SendResponse},
};
use http::{HeaderMap, Request, Response};
use tokio::{net::TcpStream, task::JoinSet};

use super::{After, Ears, Manners, parse};
use crate::raw::{chunked, find};

/// What one stream, and what all of a connection may have on their way: more than any test sends.
const WINDOW: u32 = 16 * 1024 * 1024;
/// Streams that are reset before they were looked at; whether an edge has bad manners is not for this library to say.
const RESETS: usize = 1000;

/// Takes what comes on a connection, stream by stream.
pub(super) async fn sing(stream: TcpStream, connection: usize, ears: Ears, manners: Manners) {
    if let Err(error) = serve(stream, connection, &ears, &manners).await
        && error.is_library()
    {
        ears.hears(connection, format!("no HTTP/2: {error}\r\n\r\n").as_bytes());
    }
}

async fn serve(stream: TcpStream, connection: usize, ears: &Ears, manners: &Manners) -> Result<(), h2::Error> {
    let mut builder = server::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    builder.max_pending_accept_reset_streams(RESETS);
    let mut incoming = builder.handshake::<_, Bytes>(stream).await?;
    let mut streams = JoinSet::new();
    while let Some(next) = incoming.accept().await {
        while streams.try_join_next().is_some() {}
        let (request, respond) = next?;
        let (ears, manners) = (ears.clone(), manners.clone());
        streams.spawn(async move {
            let target = request.uri().path_and_query().map_or("*", |target| target.as_str()).to_owned();
            let Err(error) = hear(request, respond, connection, &ears, manners).await else { return };
            match error.downcast_ref::<h2::Error>() {
                Some(error) if error.is_reset() && error.is_remote() => {
                    ears.loses(&target, error.reason().map_or(0, u32::from));
                }
                Some(error) if !error.is_library() => {}
                _ => ears.hears(ears.number(), format!("no HTTP/2: {error}\r\n\r\n").as_bytes()),
            }
        });
    }
    Ok(())
}

/// Hears one stream out, and answers.
async fn hear(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    ears: &Ears,
    manners: Manners,
) -> Result<()> {
    let number = ears.number();
    let (parts, mut body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("*", |target| target.as_str());
    let mut all = format!("{} {target} HTTP/2\r\n", parts.method).into_bytes();
    if let Some(authority) = parts.uri.authority() {
        all.extend(format!("host: {authority}\r\n").bytes());
    }
    fields(&mut all, &parts.headers);
    ears.hears(number, &all);
    let mut hears = |bytes: &[u8]| {
        all.extend(bytes);
        ears.hears(number, bytes);
    };
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if !data.is_empty() {
            hears(&[format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat());
        }
    }
    let mut end = b"0\r\n".to_vec();
    fields(&mut end, &body.trailers().await?.unwrap_or_default());
    hears(&end);
    let (head, _) = parse(&all, connection).context("a stream that ended is a request")?;
    let (answer, after) = manners(&head);
    ears.understands(head);
    if after == After::Silence {
        let reason = poll_fn(|cx| respond.poll_reset(cx)).await?;
        ears.loses(target, u32::from(reason));
        return Ok(());
    }
    let Ok((response, body)) = response(&answer) else {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    };
    let is_cut = after == After::Close;
    let mut sending = respond.send_response(response, body.is_empty() && !is_cut)?;
    if !body.is_empty() {
        sending.send_data(body, !is_cut)?;
    }
    if is_cut {
        // What still waits to be sent would be dropped, and nothing says when it does no more.
        tokio::time::sleep(Duration::from_millis(300)).await;
        sending.send_reset(Reason::NO_ERROR);
    }
    Ok(())
}

/// Fields as HTTP/1 has them, and the empty line behind them.
fn fields(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        out.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    out.extend(b"\r\n");
}

/// An answer of HTTP/1 as HTTP/2 has it. What comes before the last head of several is left out.
fn response(mut answer: &[u8]) -> Result<(Response<()>, Bytes)> {
    loop {
        let end = find(answer, b"\r\n\r\n").context("no head")?;
        let (head, body) = (String::from_utf8_lossy(&answer[..end]).into_owned(), &answer[end + 4..]);
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next().and_then(|line| line.get(9..12)).context("no status")?.parse()?;
        if (100..200).contains(&status) {
            ensure!(status != 101, "there are no upgrades");
            answer = body;
            continue;
        }
        let mut response = Response::builder().status(status);
        let mut is_chunked = false;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name = name.to_ascii_lowercase();
            is_chunked |= name == "transfer-encoding";
            if !["connection", "keep-alive", "transfer-encoding"].contains(&name.as_str()) {
                response = response.header(name, value.trim());
            }
        }
        let body = if is_chunked { chunked(body)?.context("a cut answer")?.body } else { body.to_vec() };
        return Ok((response.body(())?, body.into()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::canary::{Canary, Head, page};

    async fn canary() -> Canary {
        let manners: Manners = Arc::new(|head: &Head| {
            let after = if head.target() == "/silent" { After::Silence } else { After::KeepAlive };
            (page("answer"), after)
        });
        Canary::answering_http2(manners).await.unwrap()
    }

    #[tokio::test]
    async fn what_comes_by_http_2_is_kept_as_http_1_would_have_it() {
        let canary = canary().await;
        let tcp = TcpStream::connect(canary.address()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(tcp).await.unwrap();
        let driving = tokio::spawn(connection);
        let request = Request::post("http://a.test/x?y").header("x-mine", "1").body(()).unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"abc"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("content-digest", "z".parse().unwrap());
        body.send_trailers(trailers).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.into_body().data().await.unwrap().unwrap(), "answer");
        let kept = "POST /x?y HTTP/2\r\nhost: a.test\r\nx-mine: 1\r\n\r\n3\r\nabc\r\n0\r\ncontent-digest: z\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&canary.everything()), kept);
        let heads = canary.heads();
        assert_eq!((heads.len(), heads[0].method(), heads[0].target()), (1, "POST", "/x?y"));
        assert_eq!((heads[0].one("host"), heads[0].body.as_slice()), ("a.test", b"abc".as_slice()));
        assert_eq!(heads[0].trailers, [("content-digest".to_owned(), "z".to_owned())]);
        // A stream that is given up before its end, and one that is given up before its answer.
        for (target, is_whole) in [("/x", false), ("/silent", true)] {
            let request = Request::post(format!("http://a.test{target}")).body(()).unwrap();
            client = client.ready().await.unwrap();
            let (_answer, mut body) = client.send_request(request, false).unwrap();
            body.send_data(Bytes::from_static(b"abc"), is_whole).unwrap();
            canary.wait_until(|canary| canary.heard(&format!("POST {target} HTTP/2"))).await.unwrap();
            body.send_reset(Reason::CANCEL);
            let given_up = (target.to_owned(), u32::from(Reason::CANCEL));
            canary.wait_until(|canary| canary.given_up().contains(&given_up)).await.unwrap();
        }
        driving.abort();
    }

    #[tokio::test]
    async fn what_is_no_http_2_is_heard_too() {
        let canary = canary().await;
        let mut tcp = TcpStream::connect(canary.address()).await.unwrap();
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        canary.wait_until(|canary| canary.heard("no HTTP/2")).await.unwrap();
    }
}
