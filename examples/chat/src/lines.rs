//! The people who type lines, with `nc` or `telnet`.

use crate::room::{Form, Room, Seat};
use asynchat::{Control, Error, Handler};
use example_common::is_browser;
use std::sync::Arc;

pub struct Lines {
    room: Arc<Room>,
    seat: Option<Seat>,
    has_spoken: bool,
}

impl Lines {
    pub fn new(room: Arc<Room>) -> Self {
        Lines { room, seat: None, has_spoken: false }
    }
}

impl Handler for Lines {
    type Error = Error;

    fn connected(&mut self, channel: &mut Control<'_>) -> Result<(), Error> {
        self.seat = self.room.join(channel.pusher(), Form::Line, None, None).ok();
        if self.seat.is_none() {
            channel.close_when_done();
        }
        Ok(())
    }

    fn frame(&mut self, channel: &mut Control<'_>, line: &[u8]) -> Result<(), Error> {
        if is_browser(line) {
            // A web page has made a browser send this line. Its own text follows.
            return self.input_ended(channel);
        }
        self.has_spoken = true;
        if let Some(seat) = &self.seat {
            seat.hear(line);
        }
        Ok(())
    }

    fn frame_too_long(&mut self, channel: &mut Control<'_>, limit: usize) -> Result<(), Error> {
        if !self.has_spoken {
            // Nobody has seen how this line begins.
            return self.input_ended(channel);
        }
        if let Some(seat) = &self.seat {
            seat.tell(&format!("no more than {limit} bytes at a time, please"));
        }
        Ok(())
    }

    fn input_ended(&mut self, channel: &mut Control<'_>) -> Result<(), Error> {
        self.seat = None;
        channel.close_when_done();
        Ok(())
    }
}
