//! Two clients and a server over a simulated network that delays, holds and
//! loses what is sent, and whose server crashes. What arrives is what was sent,
//! in order; when a connection is lost, it is a prefix of that, and there is a
//! typed error; and never a hang. Clients connect again and go on where they
//! were.
//!
//! One thread, simulated time: a seed is a run. `SIM_SEEDS` is how many (20),
//! `SIM_SEED` runs one of them again.

mod dialogue;
mod ends;
mod wire;

use asynchat_stress::Rng;
use dialogue::Session;
use ends::Log;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use turmoil::Sim;

/// What the network does to the dialogue, and from when to when.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    kind: Kind,
    from: Duration,
    to: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What is sent waits, and then arrives.
    Hold,
    /// What is sent is lost, in both directions or in one.
    Partition,
    ToServer,
    ToClients,
    /// The server goes, and comes back.
    Crash,
}

impl Trouble {
    fn random(rng: &mut Rng, after: Duration) -> Self {
        let kinds = [Kind::Hold, Kind::Partition, Kind::ToServer, Kind::ToClients, Kind::Crash];
        let kind = kinds[rng.below(5) as usize];
        let from = after + Duration::from_millis(rng.below(400));
        // Some are longer than anybody's patience; none is shorter than a tick.
        let longest = if rng.one_in(4) { 5_000 } else { 1_000 };
        Trouble { kind, from, to: from + 2 * TICK + Duration::from_millis(rng.below(longest)) }
    }

    fn begin(&self, sim: &mut Sim) {
        if self.kind == Kind::Crash {
            return sim.crash(SERVER);
        }
        for client in CLIENTS {
            match self.kind {
                Kind::Hold => sim.hold(client, SERVER),
                Kind::ToServer => sim.partition_oneway(client, SERVER),
                Kind::ToClients => sim.partition_oneway(SERVER, client),
                Kind::Partition | Kind::Crash => sim.partition(client, SERVER),
            }
        }
    }

    fn end(&self, sim: &mut Sim) {
        if self.kind == Kind::Crash {
            return sim.bounce(SERVER);
        }
        for client in CLIENTS {
            match self.kind {
                Kind::Hold => sim.release(client, SERVER),
                _ => sim.repair(client, SERVER),
            }
        }
    }

    /// Whether a connection may be lost by it that was there from then to then, when
    /// one that stands still is given up after `patience`.
    fn excuses(&self, began: Duration, ended: Duration, patience: Duration) -> bool {
        let harms = self.kind != Kind::Hold || self.to - self.from > patience / 2;
        harms && self.from <= ended && began <= self.to + ON_THE_WAY
    }
}

/// None to three, one after the other.
fn troubles(rng: &mut Rng) -> Vec<Trouble> {
    let mut after = Duration::ZERO;
    (0..rng.below(4))
        .map(|_| {
            let trouble = Trouble::random(rng, after);
            after = trouble.to;
            trouble
        })
        .collect()
}

fn simulation(rng: &mut Rng) -> Sim<'static> {
    let (min, jitter) = (rng.below(20), rng.below(60));
    turmoil::Builder::new()
        .rng_seed(rng.next())
        .tick_duration(TICK)
        .simulation_duration(LONGEST)
        .min_message_latency(Duration::from_millis(min))
        .max_message_latency(Duration::from_millis(min + jitter))
        .tcp_capacity([4, 16, 64][rng.below(3) as usize])
        .enable_random_order()
        .build()
}

fn simulate(seed: u64) -> Result<Log, String> {
    let mut rng = Rng::new(seed);
    let troubles = troubles(&mut rng);
    let mut sim = simulation(&mut rng);
    let log = Rc::new(RefCell::new(Log::default()));
    let sessions: Vec<_> = (0..2).map(|_| Rc::new(Session::random(&mut rng))).collect();
    let (for_server, server_log) = (sessions.clone(), log.clone());
    sim.host(SERVER, move || ends::server(for_server.clone(), server_log.clone()));
    for (at, session) in sessions.into_iter().enumerate() {
        sim.client(CLIENTS[at], ends::client(session, at, log.clone()));
    }
    play(&mut sim, &troubles, &log).map_err(|e| format!("{e}\n{troubles:#?}\n{log:?}"))?;
    drop(sim);
    Ok(log.take())
}

fn play(sim: &mut Sim, troubles: &[Trouble], log: &RefCell<Log>) -> Result<(), String> {
    let mut seen = 0;
    let (mut to_begin, mut to_end) = (troubles.iter().peekable(), troubles.iter().peekable());
    loop {
        // In the order of time: one ends before the next begins.
        if let Some(trouble) = to_end.next_if(|trouble| trouble.to <= sim.elapsed()) {
            trouble.end(sim);
        }
        if let Some(trouble) = to_begin.next_if(|trouble| trouble.from <= sim.elapsed()) {
            trouble.begin(sim);
        }
        let is_finished = sim.step().map_err(|e| e.to_string())?;
        let log = log.borrow();
        if let Some(wrong) = &log.wrong {
            return Err(wrong.clone());
        }
        for (began, ended, what) in log.lost.iter().skip(seen) {
            let patience = if what == "Write(1s)" { ends::LINGER } else { wire::PATIENCE };
            if !troubles.iter().any(|trouble| trouble.excuses(*began, *ended, patience)) {
                return Err(format!("lost at {ended:?} without a cause: {what}"));
            }
        }
        seen = log.lost.len();
        if is_finished {
            return Ok(());
        }
    }
}

#[test]
fn received_bytes_equal_sent_bytes() {
    let number = |name| std::env::var(name).ok().map(|n| n.parse::<u64>().unwrap());
    let seeds = match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(seed), _) => seed..=seed,
        (None, count) => 1..=count.unwrap_or(20),
    };
    let mut all = Log::default();
    for seed in seeds.clone() {
        let log = simulate(seed).unwrap_or_else(|e| panic!("SIM_SEED={seed}: {e}"));
        all.add(log);
    }
    println!("{}", all.summary());
    if seeds.count() >= 20 {
        // Otherwise nothing was proved.
        for way in ["early end", "ConnectionReset", "TimedOut", "Write(1s)"] {
            assert!(all.lost.iter().any(|(.., what)| what.contains(way)), "never: {way}");
        }
        assert!(all.cut_elements > 0, "never in the middle of an element");
    }
}

#[test]
fn a_seed_is_a_run() {
    let [first, second] = [(), ()].map(|()| simulate(3).unwrap());
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
}

const SERVER: &str = "server";
const CLIENTS: [&str; 2] = ["streams", "handles"];

const TICK: Duration = Duration::from_millis(5);

/// The most that one message takes.
const ON_THE_WAY: Duration = Duration::from_millis(100);

/// Of simulated time. Nothing that goes on takes as long.
const LONGEST: Duration = Duration::from_secs(120);
