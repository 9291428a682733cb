//! The world of one seed: nodes and initiators, the wires between them, and what happens.

use crate::admin::Admin;
use crate::clients::Clients;
use crate::ledger::Ledger;
use crate::node::Node;
use crate::run::{Event, Run, Stage};
use crate::scene::{Outside, Scene};
use crate::wires::Wires;
use crate::{Report, Settings};

/// Everything.
pub(crate) struct World {
    nodes: Vec<Node>,
    out: Outside,
}

impl World {
    pub(crate) fn new(seed: u64, settings: Settings) -> Self {
        let mut run = Run::new(seed, settings);
        let ledger = Ledger::new(&run.plan.volumes);
        let admin = Admin::new(&run.plan);
        let clients = Clients::new(&mut run);
        plan_faults(&mut run);
        let mut scene = Scene { run, wires: Wires::default(), ledger, admin };
        let nodes = (0..scene.run.plan.nodes).map(|node| Node::new(node, &mut scene)).collect();
        Self { nodes, out: Outside { clients, scene } }
    }

    /// Runs to the end; says what went wrong.
    pub(crate) fn run(&mut self) -> Result<Report, String> {
        while self.out.scene.run.stage != Stage::Over {
            match self.out.scene.run.next_event() {
                Some(event) => self.happen(event),
                None => self.out.scene.run.fail_stuck(|| "nothing happens any more".into()),
            }
            self.check_stage();
            if let Some(failure) = self.out.scene.run.take_failure() {
                let survey = if failure.is_stuck { self.outstanding() } else { String::new() };
                return Err(failure.text + &survey);
            }
        }
        Ok(self.out.scene.run.report)
    }

    fn happen(&mut self, event: Event) {
        let Self { nodes, out } = self;
        match event {
            Event::Act { initiator } => out.clients.act(initiator, &mut out.scene),
            Event::Administer => self.administer(),
            Event::Closed { wire } => node_of(nodes, wire, out).peer_closed(wire, out),
            Event::Crash { node } => {
                if out.scene.run.is_chaos() {
                    nodes[node].lose_power(out);
                }
            }
            Event::Down { wire } => {
                let Scene { wires, run, .. } = &mut out.scene;
                if let Some(delivery) = wires.deliver_down(wire, run) {
                    out.clients.hear(&delivery, &mut out.scene);
                }
            }
            Event::Knock { wire } => node_of(nodes, wire, out).knock(wire, out),
            Event::Node { node, power, event } => nodes[node].handle(power, event, out),
            Event::Up { wire } => node_of(nodes, wire, out).bytes_up(wire, out),
        }
    }

    fn administer(&mut self) {
        let Scene { run, ledger, admin, .. } = &mut self.out.scene;
        if !run.is_chaos() {
            return;
        }
        let seats = self.nodes.len() * usize::from(run.plan.reactors);
        let change = admin.change(seats, run, ledger);
        for node in &self.nodes {
            node.announce(&change.catalog, change.generation, run);
        }
    }

    /// Whether the run goes on to its next stage.
    fn check_stage(&mut self) {
        let Outside { clients, scene } = &mut self.out;
        let run = &mut scene.run;
        let done = match run.stage {
            Stage::Chaos => clients.have_acted(),
            Stage::Drain => clients.are_settled(),
            Stage::Audit => clients.are_audited(),
            Stage::Farewell => {
                clients.are_gone()
                    && scene.wires.all_closed()
                    && self.nodes.iter().all(Node::is_idle)
            }
            Stage::Over => return,
        };
        if done {
            self.next_stage();
        } else if run.now - run.stage_began > STAGE_NS_MAX && run.stage != Stage::Chaos {
            let stage = run.stage;
            run.fail_stuck(|| format!("{stage:?} does not end"));
        } else if run.report.events > EVENTS_MAX {
            let stage = run.stage;
            run.fail_stuck(|| format!("too much happens in {stage:?}"));
        }
    }

    fn next_stage(&mut self) {
        let Scene { run, wires, .. } = &mut self.out.scene;
        run.stage = match run.stage {
            Stage::Chaos => Stage::Drain,
            Stage::Drain => Stage::Audit,
            Stage::Audit => Stage::Farewell,
            Stage::Farewell | Stage::Over => Stage::Over,
        };
        run.stage_began = run.now;
        run.trace(|| format!("stage {:?}", run.stage));
        match run.stage {
            Stage::Drain => wires.end_stalls(),
            Stage::Farewell if run.plan.shutdown => {
                self.nodes.iter().for_each(|node| node.shut_down(run));
            }
            Stage::Over => {
                run.report.virtual_ns = run.now;
                for node in &self.nodes {
                    run.check(node.check_samples());
                }
            }
            Stage::Audit | Stage::Chaos | Stage::Farewell => {}
        }
    }

    /// What has not ended.
    fn outstanding(&self) -> String {
        let nodes: String = self.nodes.iter().map(Node::outstanding).collect();
        let Outside { clients, scene } = &self.out;
        clients.outstanding() + &scene.wires.outstanding() + &nodes
    }
}

/// The node that a wire leads to.
fn node_of<'a>(nodes: &'a mut [Node], wire: usize, out: &Outside) -> &'a mut Node {
    &mut nodes[out.scene.wires.get(wire).node]
}

fn plan_faults(run: &mut Run) {
    let length = run.plan.acts * 100_000;
    for _ in 0..run.plan.faults.crashes {
        let delay = run.rng.below(length);
        let node = run.rng.place(run.plan.nodes);
        run.after(delay, Event::Crash { node });
    }
    for _ in 0..run.plan.faults.catalog {
        let delay = run.rng.below(length);
        run.after(delay, Event::Administer);
    }
}

/// How long a stage may last: longer than any operation hangs, and any timer of the target.
const STAGE_NS_MAX: u64 = 150_000_000_000;
/// How much may happen in a run.
const EVENTS_MAX: u64 = 3_000_000;
