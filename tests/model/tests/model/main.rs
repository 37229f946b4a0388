//! Threads take their steps in every order, up to a number of preemptions.
//!
//! A step is a use of a lock, an atomic or a shared `Arc` of the library. A lost wake shows
//! as a deadlock, or as work that is left undone although nobody was woken for it.

mod halves;
mod link;
mod pushes;
mod task;

use std::cell::RefCell;
use std::fmt::Debug;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::time::Instant;

/// The exploration of one test, which prints its size at the end.
pub(crate) struct Exploration {
    /// The most switches away from a thread that could go on.
    preemptions: usize,
    scenes: usize,
    orders: Arc<AtomicU64>,
    begun: Instant,
}

impl Exploration {
    /// The environment adds to the number of preemptions.
    pub(crate) fn new(preemptions: usize) -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(name_scene_of_panic);
        let more = std::env::var("MODEL_PREEMPTIONS").map_or(0, |more| more.parse().unwrap());
        let preemptions = preemptions + more;
        Exploration { preemptions, scenes: 0, orders: Arc::default(), begun: Instant::now() }
    }

    /// Plays a scene in every order.
    pub(crate) fn explore<S>(&mut self, scene: S, play: fn(&S))
    where
        S: Debug + Send + Sync + 'static,
    {
        SCENE.set(format!("{scene:?}"));
        self.scenes += 1;
        let orders = Arc::clone(&self.orders);
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(self.preemptions);
        model.max_branches = MAX_STEPS;
        model.check(move || {
            orders.fetch_add(1, Relaxed);
            play(&scene);
        });
    }
}

impl Drop for Exploration {
    fn drop(&mut self) {
        let Exploration { preemptions, scenes, orders, begun } = self;
        let (orders, seconds) = (orders.load(Relaxed), begun.elapsed().as_secs_f32());
        println!("{scenes} scenes, {orders} orders, {preemptions} preemptions, {seconds:.1} s");
    }
}

thread_local! {
    static SCENE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A panic may end the process, with its captured output, while the scene is unwound.
fn name_scene_of_panic() {
    std::panic::set_hook(Box::new(|info| {
        let scene = SCENE.with_borrow(String::clone);
        let _ = writeln!(std::io::stderr(), "{info}\nin {scene}");
    }));
}

/// An order with more steps is endless.
const MAX_STEPS: usize = 2000;
