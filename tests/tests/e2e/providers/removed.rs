//! A provider that is not trusted any more.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tunnel_tests::{
    Connector, Echo, PATIENCE,
    access::{Home, approve},
    run,
    stage::STAFF,
};

use super::{DEEP, assert_arrived, choose, declared, hostile, oidc, pin, set, stranger};

const DB: &str = "db.example.test";

async fn said_back(tcp: &mut TcpStream) -> Result<()> {
    tcp.write_all(b"hello").await?;
    let mut got = [0; 5];
    timeout(PATIENCE, tcp.read_exact(&mut got)).await??;
    ensure!(&got == b"hello");
    Ok(())
}

/// S5: with browser, program and whatever is open; and the same name does not bring it back.
#[test]
fn who_came_by_a_provider_that_is_removed_is_out_within_a_second() {
    run("removed", async |lab| {
        let provider = hostile(13000, "good").await?;
        let apps = [("www", "", "staff-only"), ("app", "", "staff-only"), ("db", "", "staff-only")];
        let both = declared(&[oidc(&lab, "hostile", provider.issuer())?, pin()], "", &apps);
        let stage = set(&lab, &both).await?;
        let echo = Echo::start().await?;
        let _connector = Connector::publish(&lab, DB, &echo.url()).await?;

        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        assert_arrived(&choose(&mut visitor, &page, "hostile").await?, DEEP);
        let home = Home::new(&lab, "laptop", &stage.ca)?;
        let _client = home.forward(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"], 7001).await?;
        let open = tokio::spawn(async {
            let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
            said_back(&mut tcp).await.map(|()| tcp)
        });
        let url = home.sent_to(1).await?;
        let page = approve(&mut visitor, &stage.smtp, &url, STAFF, None).await?;
        ensure!(page.status() == 200, "{} at {}:\n{}", page.status(), page.url, page.text());
        let mut tcp = open.await??;
        let mut bystander = stranger(&stage)?;
        assert_arrived(&bystander.login(&stage.smtp, DEEP, "other@example.test").await?, DEEP);

        let file = lab.write("removed.yaml", &declared(&[pin()], "", &apps))?;
        stage.edge.run(&["apply", "-f", &file.to_string_lossy(), "--prune"]).await?.ok()?;
        let since = Instant::now();
        while visitor.get(DEEP).await?.status() == 200 {
            ensure!(since.elapsed() < Duration::from_secs(1), "still in");
        }
        let ended = timeout(Duration::from_secs(1), tcp.read(&mut [0; 1])).await?;
        ensure!(!matches!(ended, Ok(1..)), "a connection goes on");
        assert_eq!(bystander.get(DEEP).await?.status(), 200, "nobody else is concerned");
        // Declared as before, it does not bring back what there was.
        stage.edge.apply(&both).await?;
        assert_ne!(visitor.get(DEEP).await?.status(), 200);
        assert_eq!(bystander.get(DEEP).await?.status(), 200);
        Ok(())
    });
}
