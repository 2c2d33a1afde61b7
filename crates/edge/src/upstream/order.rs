//! In which order whoever asks tries the links to a service, and which services are tried beside (F6): decided by what is known of
//! the services, and by nothing else.

use std::{collections::HashMap, time::Instant};

use tunnel_proto::message::StreamRefused;

use super::outages::{Outages, Service, Standing};

/// A link, and what is known of the service at its end.
#[derive(Clone, Debug)]
pub(super) struct Way<C> {
    pub(super) candidate: C,
    /// None where nothing is remembered of it.
    pub(super) service: Option<Service>,
    pub(super) standing: Standing,
}

/// What is done for whoever asks.
#[derive(Debug)]
pub(super) struct Plan<C> {
    /// What they try, one after the other.
    pub(super) order: Vec<Way<C>>,
    /// What is tried beside, whether or not they wait.
    pub(super) beside: Vec<Service>,
    /// What was said of a service that is down, if one is.
    pub(super) down: Option<StreamRefused>,
}

/// Asks what is known of the service of each candidate, of each service once: whoever asks may be the one to try it.
pub(super) fn look_up<C>(
    outages: &Outages,
    candidates: impl IntoIterator<Item = (C, Option<Service>)>,
    now: Instant,
) -> Vec<Way<C>> {
    let mut known: HashMap<Service, Standing> = HashMap::new();
    let way = |(candidate, service): (C, Option<Service>)| {
        let standing = service.map_or(Standing::Fine, |service| {
            known.entry(service).or_insert_with(|| outages.ask(service, now)).clone()
        });
        Way { candidate, service, standing }
    };
    candidates.into_iter().map(way).collect()
}

/// Those that serve come first, then those whose connector was short of something a moment ago, then those that failed, of which
/// what failed longer ago than a moment is before the others. What is down has no turn. What is to be tried again is tried beside
/// and has no turn either, but for the service whose turn comes first: nobody who asks has a service tried twice.
pub(super) fn plan<C>(ways: Vec<Way<C>>) -> Plan<C> {
    let (mut order, mut down) = (Vec::with_capacity(ways.len()), None);
    let mut beside: Vec<Service> = Vec::new();
    for way in ways {
        if let Some(service) = way.service
            && way.standing.is_to_be_tried()
            && !beside.contains(&service)
        {
            beside.push(service);
        }
        match way.standing {
            Standing::Due(refused) | Standing::Down(refused) => down = Some(refused),
            Standing::Fine | Standing::Short | Standing::Doubtful | Standing::Failing => order.push(way),
        }
    }
    // Stable: of those alike the least busy stays first.
    order.sort_by_key(|way: &Way<C>| match way.standing {
        Standing::Fine => 0_u8,
        Standing::Short => 1,
        Standing::Doubtful => 2,
        Standing::Failing | Standing::Due(_) | Standing::Down(_) => 3,
    });
    let first = order.first().and_then(|way| way.service);
    beside.retain(|service| Some(*service) != first);
    order.retain(|way| way.service.is_none_or(|service| !beside.contains(&service)));
    Plan { order, beside, down }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tunnel_proto::message::StreamRefusal;

    use super::*;
    use crate::upstream::outages::tests::{go_down, refused, service};

    fn due() -> Standing {
        Standing::Due(refused(StreamRefusal::ServiceRefused))
    }

    fn down() -> Standing {
        Standing::Down(refused(StreamRefusal::ServiceTimeout))
    }

    /// Named links, each with the number of its service; a bastion has none.
    fn plan_of<'a>(ways: &[(&'a str, Option<u32>, Standing)]) -> Plan<&'a str> {
        let way = |(candidate, number, standing): &(&'a str, Option<u32>, Standing)| Way {
            candidate: *candidate,
            service: number.map(|number| service(1, number)),
            standing: standing.clone(),
        };
        plan(ways.iter().map(way).collect())
    }

    fn names<'a>(plan: &Plan<&'a str>) -> Vec<&'a str> {
        plan.order.iter().map(|way| way.candidate).collect()
    }

    // F6
    #[test]
    fn who_serves_comes_first_and_what_is_down_is_tried_beside_or_not_at_all() {
        let mixed = plan_of(&[
            ("down", Some(1), down()),
            ("failing", Some(2), Standing::Failing),
            ("due", Some(3), due()),
            ("doubtful", Some(4), Standing::Doubtful),
            ("short", Some(7), Standing::Short),
            ("one", Some(5), Standing::Fine),
            ("due, by another link", Some(3), due()),
            ("bastion", None, Standing::Fine),
            ("doubtful, by another link", Some(4), Standing::Doubtful),
            ("other", Some(6), Standing::Fine),
        ]);
        assert_eq!(names(&mixed), ["one", "bastion", "other", "short", "failing"]);
        assert_eq!(mixed.beside, [service(1, 3), service(1, 4)], "each service once");
    }

    // F6
    #[test]
    fn of_those_that_failed_the_first_is_tried_by_whoever_asks_and_the_others_beside() {
        let failed = plan_of(&[
            ("failing", Some(1), Standing::Failing),
            ("doubtful", Some(2), Standing::Doubtful),
            ("other", Some(3), Standing::Doubtful),
            ("due", Some(4), due()),
            ("doubtful, by another link", Some(2), Standing::Doubtful),
        ]);
        assert_eq!(names(&failed), ["doubtful", "doubtful, by another link", "failing"]);
        assert_eq!(failed.beside, [service(1, 3), service(1, 4)], "not the first one twice");
    }

    // F6
    #[test]
    fn where_all_are_down_nobody_tries_one_in_turn() {
        let all_down = plan_of(&[("one", Some(1), down()), ("other", Some(2), down())]);
        assert!(all_down.order.is_empty() && all_down.beside.is_empty(), "{all_down:?}");
        assert_eq!(all_down.down, Some(refused(StreamRefusal::ServiceTimeout)));
        let several_due = plan_of(&[
            ("one", Some(1), due()),
            ("down", Some(2), down()),
            ("other", Some(3), due()),
            ("one, by another link", Some(1), due()),
        ]);
        assert!(several_due.order.is_empty(), "{several_due:?}");
        assert_eq!(several_due.beside, [service(1, 1), service(1, 3)]);
        assert_eq!(several_due.down, Some(refused(StreamRefusal::ServiceRefused)));
        let none = plan_of(&[]);
        assert!(none.order.is_empty() && none.beside.is_empty() && none.down.is_none());
    }

    // F6
    #[test]
    fn whatever_is_known_of_the_others_nothing_that_is_down_is_waited_for_where_one_serves() {
        let standings = [Standing::Fine, Standing::Short, Standing::Doubtful, Standing::Failing, due(), down()];
        for number in 0..1296_usize {
            let mix = [1, 6, 36, 216].map(|place| standings[number / place % 6].clone());
            let way = |(number, standing): (u32, &Standing)| ("", Some(number), standing.clone());
            let planned = plan_of(&(0..).zip(&mix).map(way).collect::<Vec<_>>());
            let place = |standing: &Standing| standings.iter().position(|other| other == standing).unwrap();
            let places: Vec<_> = planned.order.iter().map(|way| place(&way.standing)).collect();
            assert!(places.is_sorted() && places.iter().all(|place| *place < 4), "{mix:?}: {places:?}");
            assert_eq!(planned.down.is_some(), mix.iter().any(|standing| place(standing) >= 4), "{mix:?}");
            let not_left_out = mix.iter().filter(|standing| **standing != down()).count();
            assert_eq!(places.len() + planned.beside.len(), not_left_out, "in turn or beside, and none twice: {mix:?}");
            let first = planned.order.first().and_then(|way| way.service);
            let tried = |(service, standing): (Option<Service>, &Standing)| {
                service.filter(|_| standing.is_to_be_tried() && service != first)
            };
            let beside: Vec<_> = (0..).map(|number| Some(service(1, number))).zip(&mix).filter_map(tried).collect();
            assert_eq!(planned.beside, beside, "{mix:?}");
        }
    }

    // F6
    #[test]
    fn one_who_asks_has_what_is_down_tried_each_second_and_nobody_else() {
        let (outages, now) = (Outages::default(), Instant::now() + Duration::from_secs(1));
        let dead = [service(1, 1), service(1, 2), service(1, 3)];
        dead.iter().for_each(|dead| go_down(&outages, *dead, now));
        let dead_ways = dead.map(|dead| ("dead", Some(dead)));
        let with_one_that_serves = [("dead", Some(dead[0])), ("fine", Some(service(1, 4))), ("dead", Some(dead[1]))];
        for second in 1..5 {
            let now = now + Duration::from_secs(second);
            let ask = || plan(look_up(&outages, dead_ways, now));
            let all: Vec<_> = (0..100).map(|_| ask()).collect();
            assert_eq!(all[0].beside, dead, "second {second}");
            for told in &all[1..] {
                assert!(told.beside.is_empty() && told.down.is_some(), "second {second}: {told:?}");
            }
            assert!(all.iter().all(|told| told.order.is_empty()), "second {second}");
        }
        for second in 5..9 {
            let now = now + Duration::from_secs(second);
            let all: Vec<_> = (0..100).map(|_| plan(look_up(&outages, with_one_that_serves, now))).collect();
            assert!(all.iter().all(|served| names(served) == ["fine"]), "second {second}");
            assert_eq!(all[0].beside, &dead[..2], "second {second}");
            assert!(all[1..].iter().all(|served| served.beside.is_empty()), "second {second}");
        }
        outages.note_success(dead[1], now + Duration::from_secs(8));
        let back = plan(look_up(&outages, dead_ways, now + Duration::from_secs(8)));
        assert_eq!(back.order.iter().map(|way| way.service).collect::<Vec<_>>(), [Some(dead[1])]);
    }
}
