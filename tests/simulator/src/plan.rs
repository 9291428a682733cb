//! What one seed tries: each draws its own mix of sizes, faults and commands, so that rare
//! meetings of two of them are not drowned by all the others.

use crate::Canary;
use crate::rng::{Rng, word};
use units::{PoolLayout, SizeClass};

/// One volume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VolumePlan {
    pub(crate) sectors: u64,
    pub(crate) block_bytes: u32,
    pub(crate) volatile: bool,
    pub(crate) unmap: bool,
    /// Its LUN allows no writes.
    pub(crate) read_only: bool,
    /// It is memory of the node: it ends at once, never fails, and is gone with the power.
    pub(crate) in_memory: bool,
}

impl VolumePlan {
    pub(crate) fn sectors_per_block(&self) -> u64 {
        u64::from(self.block_bytes) / crate::sectors::SECTOR_BYTES
    }
}

/// What a seed makes of the world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) canary: Option<Canary>,
    pub(crate) theme: Theme,
    pub(crate) nodes: usize,
    pub(crate) reactors: u8,
    pub(crate) initiators: usize,
    pub(crate) volumes: Vec<VolumePlan>,
    pub(crate) classes: Vec<SizeClass>,
    /// What each initiator does before things calm down.
    pub(crate) acts: u64,
    pub(crate) queue_depth: usize,
    /// Blocks of a usual command.
    pub(crate) blocks: u64,
    /// Blocks that are hit more than others, to make commands meet.
    pub(crate) hot_blocks: u64,
    pub(crate) weights: Weights,
    pub(crate) faults: Faults,
    /// Batches that wait before a connection reads no more, and what one has room for.
    pub(crate) batches_max: usize,
    pub(crate) batch_chunks: usize,
    /// The node shuts down at the end; otherwise the initiators log out.
    pub(crate) shutdown: bool,
    /// The initiators that attack, beside those that keep the rules.
    pub(crate) hostile: Vec<Hostility>,
}

/// What a hostile initiator does once it has logged in, as long as it is let.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hostility {
    /// It sends the first half of a PDU.
    HalfPdu,
    /// It sends a few READs, and answers no ping.
    Mute,
    /// It sends READs, and reads nothing that comes back.
    ReadsNothing,
    /// It sends READs, and reads a few kilobytes each second.
    ReadsSlowly,
    /// It sends WRITEs, and none of their data.
    SendsNoData,
}

/// How often initiators do what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weights {
    pub(crate) read: u64,
    pub(crate) write: u64,
    pub(crate) flush: u64,
    pub(crate) compare_and_write: u64,
    pub(crate) verify: u64,
    pub(crate) write_and_verify: u64,
    pub(crate) write_same: u64,
    pub(crate) unmap: u64,
    pub(crate) reserve: u64,
    pub(crate) mode: u64,
    pub(crate) inquiry: u64,
    pub(crate) nop: u64,
    pub(crate) abort: u64,
    pub(crate) reset: u64,
    pub(crate) logout: u64,
    pub(crate) reinstate: u64,
    pub(crate) cut: u64,
    pub(crate) garbage: u64,
    /// Expected data transfer lengths that do not match the CDB, in a thousand.
    pub(crate) odd_length: u64,
    /// Transfers of several bursts, in a thousand.
    pub(crate) big: u64,
    /// Immediate commands, in a thousand.
    pub(crate) immediate: u64,
    pub(crate) or_write: u64,
    /// Commands with another task attribute than SIMPLE, in a thousand.
    pub(crate) ordered: u64,
}

/// How often the world fails, in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) io_error: u64,
    pub(crate) no_space: u64,
    /// Operations that take seconds.
    pub(crate) hang: u64,
    /// Connections that move nothing for a while.
    pub(crate) stall: u64,
    /// Connections that break by themselves.
    pub(crate) cut: u64,
    /// Power cuts in the run.
    pub(crate) crashes: u64,
    /// Changes of the catalog in the run.
    pub(crate) catalog: u64,
    /// Bytes come one by one, or nearly so.
    pub(crate) dribble: bool,
    /// Data segments with a wrong digest.
    pub(crate) bad_digest: u64,
}

/// What a seed is about: some meetings are so rare that most seeds must leave out all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    /// A mix of everything.
    Mix,
    /// COMPARE AND WRITE and WRITE of a few blocks, from several reactors.
    Contention,
    /// Damaged data segments.
    Damage,
    /// Reservations, and who is kept out by them.
    Reservations,
    /// Volumes without a write cache, and power cuts.
    WriteThrough,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng, canary: Option<Canary>) -> Self {
        let big = if rng.chance(200) { rng.pick(&[50, 200]) } else { 0 };
        let volumes = volumes(rng, big > 0);
        let tiny_pool = rng.chance(350);
        let mut plan = Self {
            canary,
            theme: rng.weighted(&THEMES).expect("a list of themes"),
            nodes: 1,
            reactors: rng.pick(&[1, 1, 2, 2, 3]),
            initiators: crate::rng::size(rng.between(1, 4)),
            volumes,
            classes: classes(rng, tiny_pool),
            acts: rng.between(20, 250),
            queue_depth: crate::rng::size(rng.pick(&[1, 4, 16, 40])),
            blocks: rng.pick(&[1, 4, 16, 64]),
            hot_blocks: rng.pick(&[2, 8, 32]),
            weights: weights(rng),
            faults: faults(rng),
            batches_max: rng.pick(&[2, 4, 16]),
            batch_chunks: rng.pick(&[1, 3, 8, 32]),
            shutdown: rng.chance(200),
            hostile: Vec::new(),
        };
        plan.weights.big = big;
        match plan.theme {
            _ if canary.is_some() => plan.make_it_calm(),
            Theme::Mix => {}
            Theme::Contention => plan.make_it_contended(rng),
            Theme::Damage => plan.make_it_damaged(rng),
            Theme::Reservations => plan.make_it_reserved(rng),
            Theme::WriteThrough => plan.make_it_write_through(rng),
        }
        plan
    }

    fn make_it_contended(&mut self, rng: &mut Rng) {
        self.weights = Weights {
            read: 60,
            write: 100,
            compare_and_write: rng.pick(&[50, 100, 200]),
            unmap: rng.pick(&[0, 30]),
            abort: rng.pick(&[0, 0, 20]),
            reinstate: rng.pick(&[0, 0, 10]),
            ..Weights::default()
        };
        self.faults = Faults { hang: rng.pick(&[0, 0, 5]), ..Faults::default() };
        self.initiators = crate::rng::size(rng.between(2, 4));
        self.queue_depth = crate::rng::size(rng.pick(&[1, 4, 8]));
        (self.blocks, self.hot_blocks) = (1, rng.pick(&[1, 2, 4]));
        self.volumes.truncate(1);
        self.volumes[0].in_memory = rng.chance(200);
        self.volumes[0].read_only = false;
        self.acts = 200;
    }

    fn make_it_damaged(&mut self, rng: &mut Rng) {
        self.faults = Faults { bad_digest: rng.between(20, 100), ..Faults::default() };
        self.weights.reset = 0;
        self.weights.abort = 0;
    }

    fn make_it_reserved(&mut self, rng: &mut Rng) {
        self.weights.reserve = rng.between(5, 20);
        self.weights.reset = rng.pick(&[0, 0, 5]);
        self.weights.reinstate = rng.pick(&[0, 0, 5]);
        self.weights.logout = 0;
        self.weights.cut = 0;
        self.faults.crashes = 0;
        self.faults.catalog = 0;
        self.initiators = crate::rng::size(rng.between(2, 4));
        self.volumes.truncate(1);
    }

    fn make_it_write_through(&mut self, rng: &mut Rng) {
        self.weights = Weights {
            read: 50,
            write: 60,
            mode: 15,
            unmap: 60,
            write_same: 60,
            compare_and_write: rng.pick(&[0, 30]),
            ..Weights::default()
        };
        self.faults = Faults { crashes: 4, ..Faults::default() };
        self.initiators = crate::rng::size(rng.between(1, 2));
        self.volumes.truncate(1);
        self.acts = 250;
        for volume in &mut self.volumes {
            (volume.volatile, volume.in_memory, volume.unmap) = (true, false, true);
            volume.read_only = false;
        }
    }

    /// A canary needs what its fault breaks, and nothing that excuses it.
    fn make_it_calm(&mut self) {
        self.faults = Faults { crashes: self.faults.crashes.max(2), ..Faults::default() };
        self.weights.write = 300;
        self.weights.read = 300;
        self.weights.flush = 100;
        self.weights.garbage = 0;
        self.acts = 200;
        for volume in &mut self.volumes {
            (volume.volatile, volume.in_memory) = (true, false);
            volume.read_only = false;
        }
    }

    /// Commands that rewrite blocks, and tasks that keep an order.
    pub(crate) fn add_rare_commands(&mut self, rng: &mut Rng) {
        self.weights.or_write = rng.pick(&[0, 0, 10, 50]);
        self.weights.ordered = rng.pick(&[0, 0, 20, 100, 300]);
    }

    /// Hostile initiators beside the others, which must be served meanwhile. So nothing of what
    /// the others do may take long by itself.
    pub(crate) fn make_it_hostile(&mut self, rng: &mut Rng) {
        let count = rng.pick(&[1, 1, 2, 4, 8]);
        let one_kind = rng.chance(500).then(|| rng.pick(&HOSTILITIES));
        let kind = |_| one_kind.unwrap_or_else(|| rng.pick(&HOSTILITIES));
        self.hostile = (0..count).map(kind).collect();
        (self.faults.hang, self.faults.stall, self.faults.cut) = (0, 0, 0);
        (self.weights.cut, self.weights.garbage, self.weights.reserve) = (0, 0, 0);
        self.classes = classes(rng, false);
        // What production has.
        (self.batches_max, self.batch_chunks) = (16, 32);
    }

    /// How long an initiator may wait for an answer, in nanoseconds; `None` where something else
    /// than other initiators may hold it up.
    pub(crate) const fn wait_ns_max(&self) -> Option<u64> {
        let is_calm = !self.hostile.is_empty() || self.canary.is_some();
        if is_calm { Some(WAIT_NS_MAX) } else { None }
    }

    /// Whether unsolicited data may wait for a buffer for seconds: a disk or a connection stops
    /// with those that it has, or they are so few that they all wait for data behind it.
    pub(crate) fn may_run_out_of_buffers(&self) -> bool {
        let Faults { hang, stall, .. } = self.faults;
        hang > 0 || stall > 0 || self.has_tiny_pool()
    }

    /// Whether all buffers may wait for data at the same time.
    pub(crate) fn has_tiny_pool(&self) -> bool {
        self.classes.iter().map(|class| class.count).sum::<u32>() < 16
    }

    pub(crate) fn layout(&self) -> PoolLayout {
        PoolLayout::new(self.classes.clone())
    }
}

/// All kinds of hostile initiators. Those that are most likely to starve others come twice.
const HOSTILITIES: [Hostility; 7] = [
    Hostility::HalfPdu,
    Hostility::Mute,
    Hostility::ReadsNothing,
    Hostility::ReadsNothing,
    Hostility::ReadsSlowly,
    Hostility::SendsNoData,
    Hostility::SendsNoData,
];

/// How long an initiator may wait while others attack: its own data, the media and the other
/// initiators that keep the rules took 35 ms at most in 600 seeds.
const WAIT_NS_MAX: u64 = 1_000_000_000;

/// Half of the seeds mix everything.
const THEMES: [(u64, Theme); 5] = [
    (50, Theme::Mix),
    (20, Theme::Contention),
    (10, Theme::Damage),
    (10, Theme::Reservations),
    (10, Theme::WriteThrough),
];

fn volumes(rng: &mut Rng, big: bool) -> Vec<VolumePlan> {
    (0..rng.between(1, 3))
        .map(|_| {
            let in_memory = rng.chance(400);
            VolumePlan {
                sectors: if big { 4096 } else { rng.pick(&[64, 256, 1024]) },
                block_bytes: rng.pick(&[512, 512, 4096]),
                volatile: !in_memory && rng.chance(700),
                unmap: rng.chance(500),
                read_only: rng.chance(40),
                in_memory,
            }
        })
        .collect()
}

/// A task needs at most three of the largest buffers at a time.
fn classes(rng: &mut Rng, tiny: bool) -> Vec<SizeClass> {
    let class = |bytes, count| SizeClass { bytes, count: word(count) };
    if tiny {
        let large = class(262_144, rng.between(3, 6));
        return if rng.chance(500) { vec![large] } else { vec![class(4096, 2), large] };
    }
    vec![class(4096, 256), class(65_536, 64), class(262_144, 64)]
}

fn weights(rng: &mut Rng) -> Weights {
    let mut some = |share: u64, most: u64| if rng.chance(share) { rng.between(1, most) } else { 0 };
    Weights {
        read: 100,
        write: 100,
        flush: some(600, 40),
        compare_and_write: some(500, 100),
        verify: some(300, 50),
        write_and_verify: some(300, 50),
        write_same: some(300, 40),
        unmap: some(300, 40),
        reserve: some(250, 30),
        mode: some(250, 20),
        inquiry: some(500, 20),
        nop: some(500, 20),
        abort: some(400, 40),
        reset: some(300, 15),
        logout: some(300, 6),
        reinstate: some(300, 6),
        cut: some(300, 6),
        garbage: some(250, 15),
        odd_length: some(250, 200),
        big: 0,
        immediate: some(200, 100),
        or_write: 0,
        ordered: 0,
    }
}

fn faults(rng: &mut Rng) -> Faults {
    let mut some = |share: u64, most: u64| if rng.chance(share) { rng.between(1, most) } else { 0 };
    let mut faults = Faults {
        io_error: some(250, 40),
        no_space: some(150, 30),
        hang: some(250, 15),
        stall: some(250, 10),
        cut: some(150, 2),
        crashes: some(250, 3),
        catalog: some(200, 4),
        bad_digest: some(100, 20),
        dribble: false,
    };
    faults.dribble = rng.chance(150);
    faults
}
