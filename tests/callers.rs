//! Callers that share a connection: each registers and pushes its request under one lock,
//! and an answer belongs to the caller that was registered first. Some give up.

mod mock;

use asynchat::{Channel, Pusher};
use bytes::Bytes;
use mock::{Task, join};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use tokio::io::DuplexStream;
use tokio::sync::oneshot;

/// Random numbers, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % below
    }
}

#[derive(Clone)]
struct Client {
    pusher: Pusher,
    waiters: Arc<Mutex<VecDeque<oneshot::Sender<Bytes>>>>,
}

impl Client {
    /// A client, and a future that gives each answer to the caller it belongs to.
    fn new(io: DuplexStream) -> (Client, impl Future<Output = ()> + Send) {
        let builder = Channel::builder().terminator("\n").high_water(500).low_water(100);
        let mut channel = builder.build(io);
        let client = Client { pusher: channel.pusher(), waiters: Arc::default() };
        let waiters = Arc::clone(&client.waiters);
        let answers = async move {
            while let Ok(answer) = channel.receive("\n").await {
                let first = waiters.lock().unwrap().pop_front();
                // It may have given up.
                let _ = first.expect("nobody waits for this answer").send(answer);
            }
        };
        (client, answers)
    }

    /// Returns the answer.
    async fn call(self, request: String, how: How) -> Option<Bytes> {
        let permit = self.pusher.reserve().await.ok()?;
        if how == How::Dawdles {
            yield_once().await;
        }
        let (sender, answer) = oneshot::channel();
        {
            let mut waiters = self.waiters.lock().unwrap();
            waiters.push_back(sender);
            permit.push(request).unwrap();
        }
        if how == How::Flushes {
            self.pusher.flush().await.ok()?;
        }
        answer.await.ok()
    }
}

/// What a caller does besides.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// Holds its permit for a while.
    Dawdles,
    /// Waits until its request is sent.
    Flushes,
    Nothing,
}

const HOW: [How; 3] = [How::Dawdles, How::Flushes, How::Nothing];

async fn yield_once() {
    let mut is_first = true;
    poll_fn(|cx| {
        if !std::mem::take(&mut is_first) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Answers each request with itself and `!`.
async fn serve(io: DuplexStream) {
    let mut channel = Channel::new(io, "\n");
    while let Some(Ok(request)) = channel.next().await {
        channel.push(request.into_data());
        channel.push("!\n");
        if channel.ready().await.is_err() {
            return;
        }
    }
}

/// What a caller came to.
#[derive(Default)]
struct Tally {
    right: usize,
    given_up: usize,
}

type Call = Task<Pin<Box<dyn Future<Output = Option<Bytes>>>>>;

/// Polls the tasks in a random order, and lets callers give up at any point.
fn play(seed: u64, tally: &mut Tally) {
    let mut dice = Dice(seed);
    let (here, there) = tokio::io::duplex(32 + dice.roll(200));
    let (client, answers) = Client::new(here);
    let mut answers = Task::new(Box::pin(answers));
    let mut server = Task::new(Box::pin(serve(there)));
    let mut calls: Vec<(String, Call)> = vec![];
    let mut left = 60;
    for turn in 0.. {
        assert!(turn < 100_000, "seed {seed}: a call does not end");
        match dice.roll(8) {
            0 if answers.is_woken() => assert!(answers.poll().is_pending()),
            1 if server.is_woken() => assert!(server.poll().is_pending()),
            2 if left > 0 => {
                left -= 1;
                let request = format!("request {left}");
                let call = client.clone().call(request.clone() + "\n", HOW[dice.roll(3)]);
                calls.push((request, Task::new(Box::pin(call))));
            }
            3 if dice.roll(4) == 0 && !calls.is_empty() => {
                drop(calls.swap_remove(dice.roll(calls.len())));
                tally.given_up += 1;
            }
            4.. if !calls.is_empty() => {
                let at = dice.roll(calls.len());
                let (request, call) = &mut calls[at];
                if !call.is_woken() {
                    continue;
                }
                if let Poll::Ready(answer) = call.poll() {
                    assert_eq!(answer.unwrap(), format!("{request}!"), "seed {seed}");
                    calls.swap_remove(at);
                    tally.right += 1;
                }
            }
            _ if left == 0 && calls.is_empty() => return,
            _ => {}
        }
    }
}

#[test]
fn permits_return_each_caller_its_answer_despite_drops() {
    let mut tally = Tally::default();
    (0..500).for_each(|seed| play(seed, &mut tally));
    assert!(tally.right > 5000 && tally.given_up > 5000, "{} {}", tally.right, tally.given_up);
}

/// Polls a future until it was pending so many times.
async fn give_up<F: Future>(future: F, after: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = after;
    poll_fn(|cx| {
        if let Poll::Ready(ready) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(ready));
        }
        left = left.saturating_sub(1);
        // The future wakes, or it is over.
        if left == 0 { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// A caller in a task of its own. Every second call may be given up.
async fn call_on(client: Client, caller: usize, moves: Arc<AtomicUsize>) -> usize {
    let mut dice = Dice(caller as u64);
    let mut right = 0;
    for n in 0..CALLS {
        let call = client.clone().call(format!("{caller} {n}\n"), HOW[dice.roll(3)]);
        let after = if n % 2 == 0 { usize::MAX } else { 1 + dice.roll(4) };
        if let Some(answer) = give_up(call, after).await {
            assert_eq!(answer.unwrap(), format!("{caller} {n}!"));
            right += 1;
        }
        moves.fetch_add(1, Relaxed);
    }
    right
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_in_four_threads_get_their_own_answers() {
    let (here, there) = tokio::io::duplex(512);
    let (client, answers) = Client::new(here);
    let ends = vec![tokio::spawn(answers), tokio::spawn(serve(there))];
    let moves = Arc::new(AtomicUsize::new(0));
    let call = |caller| tokio::spawn(call_on(client.clone(), caller, Arc::clone(&moves)));
    for right in join((0..CALLERS).map(call).collect(), &moves).await {
        assert!(right >= CALLS / 2);
    }
    client.pusher.close_when_done();
    join(ends, &moves).await;
}

const CALLERS: usize = 40;
const CALLS: usize = 100;
