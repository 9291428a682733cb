//! A host behind a slow link, which reads as fast as the link lets it, and a fast one beside it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use e2e::hostile::{Attack, Place, Scale, Service, alone, reads_as_they_come};
use e2e::{Setup, ShapedLink, Subject};

/// One reactor, which both hosts reach through addresses of their own.
const TWO_PORTALS: &str = r#"
[node]
state_dir = "STATE"
control = "CONTROL"
cores = [0]

[[portal]]
address = "PORTAL"

[[portal]]
address = "SLOW"

[[volume]]
name = "slow"
kind = "memory"
size = "16MiB"

[[volume]]
name = "fast"
kind = "memory"
size = "16MiB"

[[target]]
name = "iqn.2026-11.local.pollux:slow"
luns = { 0 = "slow" }

[[target]]
name = "iqn.2026-11.local.pollux:fast"
luns = { 0 = "fast" }
"#;

/// READs of 1 MiB that the slow host has under way.
const READS: usize = 128;

/// What half of the fast host's reads of 256 KiB may take: they took 0.3 ms alone, and 1019 ms
/// beside a slow host.
const MEDIAN_MAX: Duration = Duration::from_millis(10);

/// The same on a machine that does something else too: a third of what it was with the fault.
const MEDIAN_MAX_BUSY: Duration = Duration::from_millis(300);

const READ: &str = "read 256 KiB";

/// The slow host held all buffers, each for as long as its link needed, and the fast one waited
/// for them behind it.
#[test]
fn a_host_behind_a_slow_link_does_not_delay_a_fast_one() {
    let _one = alone();
    if Subject::is_foreign() {
        println!("skipped: this fact is about polluxd, and E2E_PORTAL names another target");
        return;
    }
    let Some(link) = ShapedLink::lay("1gbit") else { return };
    let setup = Setup::demo();
    let slow = SocketAddr::from((link.near(), setup.portal().port()));
    let config = TWO_PORTALS.replace("SLOW", &slow.to_string());
    let daemon = setup.with_config(&config).start();
    let place = |portal, name: &str, from| Place {
        portal,
        target: format!("iqn.2026-11.local.pollux:{name}"),
        from,
    };
    let fast = place(daemon.portal(), "fast", Ipv4Addr::LOCALHOST).disk(0);
    let mut fast = fast.expect("the disk of the fast host");
    let scale = Scale::of_this_run();
    let entrance = link.entrance();
    let reads = reads_as_they_come(READS);
    let life = move |place: &Place, progress: &_, begins: &mut dyn FnMut()| {
        entrance.enter()?;
        reads(place, progress, begins)
    };
    let attack = Attack::begin(1, &place(slow, "slow", link.far()), life);
    let mut service = Service::default();
    let (end, blocks) = (Instant::now() + scale.time, 262_144 / fast.block_bytes());
    while Instant::now() < end {
        let answer = service.time(READ, || fast.read(0, blocks));
        assert!(answer.is_good() && answer.data.len() == 262_144, "{READ}: {answer:?}");
    }
    drop(attack);
    let median = service.median(READ);
    println!("{READ}: p50 {median:?}");
    let median_max = if scale.is_full { MEDIAN_MAX } else { MEDIAN_MAX_BUSY };
    assert!(median <= median_max, "p50 of reads of 256 KiB: {median:?}, at most {median_max:?}");
    service.assert_is_good(&scale);
}
