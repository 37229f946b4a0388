//! Scenarios of time: at each `Pending` half of a limit may pass. What must be
//! over then is known from the bytes that went in and out.

use crate::clock::{Clock, FRAME, IDLE, WRITE};
use crate::sim::{FLUSH, NEXT, PEEK, RECEIVE, RECEIVE_PART, RUN, SHUTDOWN, Scenario, Sim};
use crate::variant::{VARIANTS, Variant};
use crate::world::{Mock, world};
use asynchat::{Builder, Channel, Control, Error, Frame, Handler, Run, Timeout, Timeouts};
use bytes::Bytes;
use std::task::Poll;

/// All limits are set, and time may pass.
pub(crate) fn channel(sim: &mut Sim, builder: Builder, input: &'static [u8]) -> Channel<Mock> {
    world(|world| world.clock = Some(Clock::default()));
    let timeouts =
        Timeouts { frame: Some(FRAME), idle: Some(IDLE), write: Some(WRITE), min_rate: None };
    builder.timeouts(timeouts).terminator("\n").build(sim.mock(&Bytes::from_static(input)))
}

/// What was handed out and what is buffered is what was received.
fn check_held(sim: &Sim, got: &[u8], channel: &Channel<Mock>) {
    sim.link(|link| assert_eq!([got, channel.unread()].concat(), link.received()));
}

#[derive(Clone, Copy)]
enum Way {
    Next,
    Peeked,
    Receive,
    Parts,
}

impl Way {
    fn take(self, sim: &mut Sim, channel: &mut Channel<Mock>) -> Option<Result<Frame, Error>> {
        match self {
            Way::Next => sim.turns(NEXT, channel, async |c| c.next().await),
            Way::Peeked => {
                // Of more bytes than a line has, buffered lines are a frame that has begun.
                let peeked = sim.turns(PEEK, channel, async |c| c.peek(2).await.map(<[u8]>::len));
                assert!(peeked.is_ok(), "it takes no error");
                sim.turns(NEXT, channel, async |c| c.next().await)
            }
            Way::Receive => {
                let data = sim.turns(RECEIVE, channel, async |c| c.receive("\n").await);
                Some(data.map(|data| Frame::Complete(data.into())))
            }
            Way::Parts => Some(sim.turns(RECEIVE_PART, channel, async |c| c.receive_part().await)),
        }
    }
}

/// Each line may be answered. A time that is over is reported once, and then input
/// goes on where it was.
fn lines(sim: &mut Sim, builder: Builder, way: Way, input: &'static [u8], answers: usize) {
    let mut channel = channel(sim, builder, input);
    let (mut got, mut answers, mut timeouts) = (vec![], 0..answers, 0);
    // Who neither sends nor ends is waited for only so often.
    while timeouts < 3 {
        match way.take(sim, &mut channel) {
            Some(Ok(frame)) => {
                got.extend_from_slice(frame.data());
                if frame.is_complete() {
                    got.push(b'\n');
                    answers.next().into_iter().for_each(|n| sim.push(&mut channel, n));
                }
            }
            Some(Err(Error::Timeout(timeout @ (Timeout::Frame(_) | Timeout::Idle(_))))) => {
                timeouts += 1;
                world(|world| world.timed_out(timeout));
                check_held(sim, &got, &channel);
                match way.take(sim, &mut channel) {
                    None => assert!(matches!(way, Way::Next | Way::Peeked)),
                    Some(Err(Error::Timeout(again))) if again == timeout => {
                        assert!(!matches!(way, Way::Next | Way::Peeked), "reported again");
                    }
                    Some(Err(error)) => {
                        sim.reported(&error);
                        break;
                    }
                    Some(Ok(frame)) => panic!("{frame:?} behind {timeout:?}"),
                }
                channel.set_timeouts(Timeouts { frame: Some(FRAME), ..channel.timeouts() });
            }
            Some(Err(Error::UnexpectedEof { partial, .. })) => {
                if let Some(error) = sim.reported_beside() {
                    sim.reported(&error);
                    got.extend_from_slice(&partial);
                }
                assert!(sim.has_reported() || partial.is_empty());
                break;
            }
            Some(Err(error)) => {
                sim.reported(&error);
                break;
            }
            None => break,
        }
    }
    check_held(sim, &got, &channel);
    sim.link(|link| assert!(timeouts == 3 || sim.has_reported() || got == input && link.has_ended));
    sim.finish(&mut channel);
}

/// One that sends this and is silent then: time alone goes on.
fn silent(sim: &mut Sim, builder: Builder, way: Way, input: &'static [u8]) {
    world(|world| world.links[0].is_quiet = true);
    lines(sim, builder, way, input, 1);
}

/// Between any two turns for a frame everything is sent. Its time may stand still, or run:
/// each turn has a waker of its own, and the one before could be a task that still reads.
fn next_and_flush(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, b"ab\n");
    world(|world| world.clock.iter_mut().for_each(|clock| clock.may_run = true));
    let mut more = 0..2;
    loop {
        let error = match sim.poll_next(&mut channel) {
            Poll::Pending => {
                let Some(n) = more.next() else { continue };
                sim.push(&mut channel, n);
                let flushed = sim.turns(FLUSH, &mut channel, async |c| c.flush().await);
                let Err(error) = flushed else { continue };
                error
            }
            Poll::Ready(Some(Ok(frame))) => {
                assert_eq!(frame.data(), b"ab");
                continue;
            }
            Poll::Ready(Some(Err(error))) => error,
            Poll::Ready(None) => break,
        };
        match error {
            Error::Timeout(timeout @ (Timeout::Frame(_) | Timeout::Idle(_))) => {
                world(|world| world.timed_out(timeout));
                channel.set_timeouts(Timeouts { idle: Some(IDLE), ..channel.timeouts() });
            }
            error => {
                sim.reported(&error);
                break;
            }
        }
    }
    sim.finish(&mut channel);
}

/// A peer that does not read: that is reported once, and nothing is sent any more.
fn stalled(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, b"");
    sim.push(&mut channel, 0);
    sim.push(&mut channel, 1);
    crate::writing::flush(sim, &mut channel);
    sim.push(&mut channel, 2);
    let closed = sim.turns(SHUTDOWN, &mut channel, async |c| c.shutdown().await);
    sim.check_closed(closed);
    sim.finish(&mut channel);
}

/// A peer that reads a byte in each half of the limit is not cut off, however much the
/// transport buffers. The channel is woken with each byte.
fn slow_peer_behind_a_buffer(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, b"");
    world(|world| world.links[0].is_slow = true);
    for n in 0..3 {
        sim.push(&mut channel, n);
    }
    crate::writing::flush(sim, &mut channel);
    assert!(!sim.injected("write timeout"), "a peer that reads was cut off");
    sim.finish(&mut channel);
}

/// Answers each line, and is asked when a time is over.
struct Answers {
    payloads: Vec<Bytes>,
    queued: Vec<u8>,
    got: Vec<u8>,
    gives_up: bool,
}

impl Handler for Answers {
    type Error = Error;

    fn frame(&mut self, channel: &mut Control<'_>, line: &[u8]) -> Result<(), Error> {
        self.got.extend_from_slice(line);
        self.got.push(b'\n');
        if let Some(data) = self.payloads.pop() {
            self.queued.extend_from_slice(&data);
            channel.push(data);
        }
        Ok(())
    }

    fn timed_out(&mut self, _: &mut Control<'_>, timeout: Timeout) -> Result<(), Error> {
        world(|world| world.timed_out(timeout));
        if self.gives_up { Err(timeout.into()) } else { Ok(()) }
    }
}

fn run(sim: &mut Sim, builder: Builder, answers: usize, gives_up: bool) {
    const INPUT: &[u8] = b"ab\nc\n";
    let mut channel = channel(sim, builder, INPUT);
    let payloads = (0..answers).map(|n| sim.payload(n)).collect();
    let mut handler = Answers { payloads, queued: vec![], got: vec![], gives_up };
    let run = sim.turns(RUN, &mut channel, async |c| c.run(&mut handler).await);
    sim.queued.extend_from_slice(&handler.queued);
    check_held(sim, &handler.got, &channel);
    match run {
        Ok(run) => {
            assert_eq!(run, Run::Closed);
            assert_eq!(handler.got, INPUT);
        }
        Err(Error::Timeout(Timeout::Frame(_) | Timeout::Idle(_))) => assert!(gives_up),
        Err(error) => sim.reported_by_run(&error),
    }
    sim.finish(&mut channel);
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    let scenario = |name: &str, variants, play: fn(&mut Sim, Builder)| Scenario {
        name: format!("time: {name}"),
        variants,
        play: Box::new(play),
    };
    let few: &'static [Variant] = &VARIANTS[1..3];
    let one: &'static [Variant] = &VARIANTS[..1];
    vec![
        scenario("next", one, |sim, b| lines(sim, b, Way::Next, b"ab\nc\n", 0)),
        scenario("peek, then next", one, |sim, b| lines(sim, b, Way::Peeked, b"ab\nc\n", 0)),
        scenario("receive", one, |sim, b| lines(sim, b, Way::Receive, b"ab\nc\n", 0)),
        scenario("receive_part", one, |sim, b| lines(sim, b, Way::Parts, b"ab\nc\n", 0)),
        scenario("next, answered", few, |sim, b| lines(sim, b, Way::Next, b"a\nbc\n", 2)),
        scenario("receive, answered", few, |sim, b| lines(sim, b, Way::Receive, b"a\nbc\n", 2)),
        scenario("a silent peer", one, |sim, b| silent(sim, b, Way::Next, b"")),
        scenario("a silent peer in a frame", one, |sim, b| silent(sim, b, Way::Next, b"a\nb")),
        scenario("a silent peer, parts", one, |sim, b| silent(sim, b, Way::Parts, b"a\nbc")),
        scenario("next and flush", few, next_and_flush),
        scenario("a peer that does not read", &VARIANTS, stalled),
        scenario("a slow peer behind a buffer", &BUFFERED, slow_peer_behind_a_buffer),
        scenario("run", one, |sim, b| run(sim, b, 0, false)),
        scenario("run, answered", few, |sim, b| run(sim, b, 2, false)),
        scenario("run that gives up", few, |sim, b| run(sim, b, 1, true)),
    ]
}

const BUFFERED: [Variant; 1] = [Variant { buffers: true, ..VARIANTS[0] }];
