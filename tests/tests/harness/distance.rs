//! The distance is as long, as narrow and as lossy as was said.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::{net::UdpSocket, time::timeout};
use tunnel_tests::{
    Bulk, Lab, Leg, Load, Netns,
    bulk::{Towards, typing},
    distance::{Distance, Way, lay},
    run,
};

const MS: Duration = Duration::from_millis(1);

/// Joins the lab to another machine, at 192.0.2.2.
fn joined(lab: &Lab, leg: Leg) -> Result<(Netns, Distance)> {
    let other = Netns::new("other")?;
    let distance = lay((lab.net(), "a0", "192.0.2.1/30"), (&other, "b0", "192.0.2.2/30"), leg, 7)?;
    Ok((other, distance))
}

#[test]
fn a_distance_has_its_delay_and_its_rate() {
    run("distance", async |lab| {
        let leg = Leg { up: Way::after(20 * MS), down: Way::after(20 * MS).through(20_000_000, 100_000) };
        let (other, distance) = joined(&lab, leg)?;
        let service = Bulk::start(&other)?;
        let to = ([192, 0, 2, 2], service.port()).into();
        let idle = typing(to, Duration::ZERO, 500 * MS).await?;
        let mut rates = Vec::new();
        for towards in [Towards::Client, Towards::Service] {
            rates.push(Load::start(&service, to, towards, 4).await?.rates(1000 * MS, 1000 * MS).await?.mbit());
        }
        let (least, most) = (idle.percentile(1), idle.percentile(50));
        println!("40 ms: {least:.2} to {most:.2}; 20 Mbit/s: {:.1}; without a limit: {:.1}", rates[0], rates[1]);
        println!("{:?}", distance.passed());
        // A network that waits for a processor takes longer, and carries less; never the other way round.
        assert!(least >= 40.0, "{least} ms");
        assert!(rates[0] < 40.0, "{rates:?}");
        assert!(rates[1] > 2.0 * rates[0], "{rates:?}");
        assert!(distance.passed()[1].dropped > 0, "the queue has an end: {:?}", distance.passed());
        Ok(())
    });
}

/// About a Gbit/s where the machine has nothing else to do, which is printed; a tenth of it in any case.
#[test]
fn a_distance_is_no_bottleneck_by_itself() {
    run("wide", async |lab| {
        let (other, distance) = joined(&lab, Leg::even(Way::after(5 * MS).through(1_000_000_000, 4_000_000)))?;
        let service = Bulk::start(&other)?;
        let to = ([192, 0, 2, 2], service.port()).into();
        let mbit = Load::start(&service, to, Towards::Client, 4).await?.rates(1000 * MS, 1500 * MS).await?.mbit();
        println!("{mbit:.0} Mbit/s; {:?}", distance.passed());
        assert!(mbit > 100.0, "{mbit}");
        Ok(())
    });
}

/// So many datagrams are sent, one by one, for the sequence to be the same each time.
const DATAGRAMS: u32 = 2000;

/// What of the datagrams arrives, by their numbers. A hundred are on their way at a time: what a socket holds.
async fn arriving(lab: &Lab, leg: Leg) -> Result<Vec<u32>> {
    let (other, distance) = joined(lab, leg)?;
    let far = other.inside(async { UdpSocket::bind("192.0.2.2:7").await?.into_std() })?;
    let (near, far) = (UdpSocket::bind("192.0.2.1:0").await?, UdpSocket::from_std(far)?);
    let (mut numbers, mut number) = (Vec::new(), [0; 4]);
    for sent in 1..=DATAGRAMS {
        near.send_to(&sent.to_be_bytes(), "192.0.2.2:7").await?;
        while sent % 100 == 0 && numbers.len() as u64 + distance.passed()[0].lost < u64::from(sent) {
            if let Ok(heard) = timeout(20 * MS, far.recv(&mut number)).await {
                ensure!(heard? == number.len());
                numbers.push(u32::from_be_bytes(number));
            }
        }
    }
    Ok(numbers)
}

#[test]
fn the_same_seed_loses_the_same_packets() {
    run("losing", async |lab| {
        let leg = Leg { up: Way::after(5 * MS).losing(100_000), down: Way::after(5 * MS) };
        let (first, second) = (arriving(&lab, leg).await?, arriving(&lab, leg).await?);
        ensure!(first.is_sorted(), "none overtakes another one");
        let lost = DATAGRAMS - u32::try_from(first.len())?;
        println!("{lost} of {DATAGRAMS} datagrams are lost");
        assert!((100..=320).contains(&lost), "a tenth: {lost}");
        assert_eq!(first, second);
        Ok(())
    });
}
