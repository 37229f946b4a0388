//! The room: the people in it, and the messages to all of them.
//!
//! It knows people by their [`Pusher`]s. A message to a person never waits: a person whose own
//! queue is full is disconnected.

use asynchat::{Pusher, TryPushError};
use bytes::Bytes;
use example_common::random;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use unicode_general_category::{GeneralCategory as Kind, get_general_category as general_category};

#[derive(Default)]
pub struct Room(Mutex<State>);

#[derive(Default)]
struct State {
    people: BTreeMap<u64, Person>,
    /// The number of the next one.
    next: u64,
    /// The people on the other servers, by server.
    elsewhere: BTreeMap<String, BTreeSet<String>>,
    /// The way to them, while there is one.
    link: Option<mpsc::Sender<News>>,
    is_closed: bool,
}

struct Person {
    nick: String,
    pusher: Pusher,
    form: Form,
    /// Since when a line person has been here, until the first word.
    silent_since: Option<Instant>,
    /// The proof that a request speaks for this person. With it, a page that has lost its
    /// connection takes the seat over.
    key: Option<String>,
}

/// The form in which a person gets messages.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    /// Lines of text.
    Line,
    /// Server-sent events.
    Event,
}

/// An event for everybody in the room. The events of people on this server go to the other
/// servers as well.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    Said { who: String, text: String },
    Joined(String),
    Left(String),
    Renamed { from: String, to: String },
}

/// A message to a person.
enum Message<'m> {
    Said {
        who: &'m str,
        text: &'m str,
    },
    /// A sentence, of this kind: `notice`; `joined`, `left` or `renamed`, which begins with
    /// the name; or `bye`, the last one, after which a page must not come back by itself.
    Notice(&'static str, &'m str),
    /// Everybody who is here, for a page.
    Here(&'m str),
    /// Nothing. Without it for some time, a proxy, a page or the kernel takes the
    /// connection for lost.
    Ping,
}

/// A place in the room, given up when this is dropped.
pub struct Seat {
    room: Arc<Room>,
    number: u64,
}

/// Why nobody of that name can be in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Taken,
    /// Not 1 to 20 letters, digits, `-` and `_`.
    NotAName,
    Closed,
}

impl Room {
    /// Seats somebody in the place of the person with this key, or else under this name, or
    /// as a guest.
    pub fn join(
        self: &Arc<Self>,
        pusher: Pusher,
        form: Form,
        nick: Option<&str>,
        key: Option<&str>,
    ) -> Result<Seat, Refused> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        let before = key.and_then(|key| state.take_over(key));
        let is_back = before.is_some();
        let (nick, key) = match (before, nick) {
            (Some(person), _) => (person.nick, person.key),
            (None, Some(nick)) => (state.check(nick)?, (form == Form::Event).then(random)),
            (None, None) => (state.guest(), None),
        };
        let number = state.next;
        state.next += 1;
        if let Some(key) = &key {
            // Only a page needs to be told; it comes before anything else. A browser that
            // connects again by itself repeats the `id`.
            let _ = pusher.try_push(format!("retry: 1000\nevent: key\nid: {key}\ndata: {key}\n\n"));
        }
        let silent_since = (form == Form::Line).then(Instant::now);
        let person = Person { nick: nick.clone(), pusher, form, silent_since, key };
        state.people.insert(number, person);
        state.tell(number, &Message::Here(&state.here()));
        if !is_back {
            let hurry = if form == Form::Line { "say something within two minutes; " } else { "" };
            let welcome = format!("welcome, {nick}; {hurry}/help lists the commands");
            state.tell(number, &Message::Notice("notice", &welcome));
            state.publish(News::Joined(nick));
        }
        Ok(Seat { room: Arc::clone(self), number })
    }

    /// A line from whoever has been given this key.
    pub fn hear_by_key(&self, key: &str, line: &[u8]) -> Result<(), Refused> {
        let mut state = self.lock();
        let number = state.number(key).ok_or(Refused::Closed)?;
        state.hear(number, line);
        Ok(())
    }

    /// Everybody on this server, as the others are to know them.
    pub fn nicks(&self) -> Vec<String> {
        self.lock().people.values().map(|person| person.nick.clone()).collect()
    }

    /// From now on news go to the other servers, until the room is closed.
    pub fn link(&self, capacity: usize) -> mpsc::Receiver<News> {
        let (sender, receiver) = mpsc::channel(capacity);
        let mut state = self.lock();
        if !state.is_closed {
            state.link = Some(sender);
        }
        receiver
    }

    /// The other servers are out of reach.
    pub fn unlink(&self) {
        let mut state = self.lock();
        state.link = None;
        state.elsewhere.clear();
        state.tell_who_is_here();
    }

    /// Tells everybody on this server.
    pub fn notice(&self, text: &str) {
        self.lock().tell_all(&Message::Notice("notice", &plain(text)));
    }

    /// Sends something to every page.
    pub fn ping(&self) {
        self.lock().tell_all(&Message::Ping);
    }

    /// Sends home those on lines who have said nothing since they came.
    pub fn dismiss_the_silent(&self) {
        let mut state = self.lock();
        let is_late = |since: Instant| since.elapsed() >= FIRST_WORD;
        let people = state.people.iter();
        let late = people.filter(|(_, person)| person.silent_since.is_some_and(is_late));
        for number in late.map(|(&number, _)| number).collect::<Vec<_>>() {
            state.tell(number, &Message::Notice("bye", "you have said nothing; good-bye"));
            state.leave(number);
        }
    }

    /// Announces an event of another server.
    pub fn hear_from(&self, server: &str, news: News) {
        let mut state = self.lock();
        let there = state.elsewhere.entry(server.to_owned()).or_default();
        match &news {
            News::Joined(who) => drop(there.insert(who.clone())),
            News::Left(who) => drop(there.remove(who)),
            News::Renamed { from, to } => {
                there.remove(from);
                there.insert(to.clone());
            }
            News::Said { .. } => {}
        }
        state.announce(&news);
    }

    /// Everybody on another server.
    pub fn set_nicks_of(&self, server: &str, nicks: BTreeSet<String>) {
        let mut state = self.lock();
        if state.elsewhere.get(server) != Some(&nicks) {
            state.elsewhere.insert(server.to_owned(), nicks);
            state.tell_who_is_here();
        }
    }

    /// Another server has gone, and everybody on it with it.
    pub fn forget(&self, server: &str) {
        let mut state = self.lock();
        for who in state.elsewhere.remove(server).unwrap_or_default() {
            state.announce(&News::Left(who));
        }
    }

    /// Sends everybody home.
    pub fn close(&self) {
        let mut state = self.lock();
        state.tell_all(&Message::Notice("notice", "the server is stopping"));
        state.is_closed = true;
        state.link = None;
        state.people.values().for_each(|person| person.pusher.close_when_done());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// A line from the person who sits here.
    pub fn hear(&self, line: &[u8]) {
        self.room.lock().hear(self.number, line);
    }

    /// Something for this person alone.
    pub fn tell(&self, text: &str) {
        self.room.lock().tell(self.number, &Message::Notice("notice", text));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.lock().leave(self.number);
    }
}

impl State {
    fn hear(&mut self, number: u64, line: &[u8]) {
        let Some(person) = self.people.get_mut(&number) else { return };
        person.silent_since = None;
        let who = person.nick.clone();
        let text = plain(&String::from_utf8_lossy(line));
        let (command, argument) = text.split_once(' ').unwrap_or((&text, ""));
        let notice =
            |state: &Self, text: &str| state.tell(number, &Message::Notice("notice", text));
        match command {
            "" => {}
            "/help" => notice(self, HELP),
            "/who" => notice(self, &format!("here: {}", self.here().replace(' ', ", "))),
            "/nick" => match self.check(argument) {
                Ok(to) => self.rename(number, to),
                Err(refused) => notice(self, &refused.to_string()),
            },
            "/quit" => {
                self.tell(number, &Message::Notice("bye", "good-bye"));
                self.leave(number);
            }
            _ if command.starts_with('/') => notice(self, "no such command; try /help"),
            _ => self.publish(News::Said { who, text }),
        }
    }

    /// Takes the person with this key out of the room, and nobody notices.
    fn take_over(&mut self, key: &str) -> Option<Person> {
        let person = self.number(key).and_then(|number| self.people.remove(&number))?;
        // If the other page is still there, the two must not take turns.
        person.tell(Message::Notice("bye", "you have joined on another page").encode(person.form));
        person.pusher.close_when_done();
        Some(person)
    }

    fn rename(&mut self, number: u64, to: String) {
        if let Some(person) = self.people.get_mut(&number) {
            let from = std::mem::replace(&mut person.nick, to.clone());
            self.publish(News::Renamed { from, to });
        }
    }

    fn leave(&mut self, number: u64) {
        if let Some(person) = self.people.remove(&number) {
            person.pusher.close_when_done();
            self.publish(News::Left(person.nick));
        }
    }

    /// Tells everybody, here and elsewhere.
    fn publish(&mut self, news: News) {
        self.announce(&news);
        if !self.forward(news) {
            self.tell_all(&Message::Notice("notice", "this did not reach the other servers"));
        }
    }

    /// Tells the other servers. Returns `false` if there are some, and they will not get it.
    fn forward(&self, news: News) -> bool {
        self.link.as_ref().is_none_or(|link| link.try_send(news).is_ok())
    }

    /// Tells everybody on this server.
    fn announce(&mut self, news: &News) {
        let (kind, text) = match news {
            News::Said { who, text } => return self.tell_all(&Message::Said { who, text }),
            News::Joined(who) => ("joined", format!("{who} has come")),
            News::Left(who) => ("left", format!("{who} has left")),
            News::Renamed { from, to } => ("renamed", format!("{from} is now {to}")),
        };
        self.tell_all(&Message::Notice(kind, &text));
    }

    fn tell_who_is_here(&mut self) {
        let here = self.here();
        self.tell_all(&Message::Here(&here));
    }

    fn tell_all(&mut self, message: &Message<'_>) {
        let mut cut_off = self.tell_who_has_room(message);
        // To hear of it may be too much for the next one.
        while let Some(who) = cut_off.pop() {
            let text = format!("{who} was disconnected for not reading");
            cut_off.extend(self.tell_who_has_room(&Message::Notice("left", &text)));
            self.forward(News::Left(who));
        }
    }

    /// Cuts the others off, and returns their names.
    fn tell_who_has_room(&mut self, message: &Message<'_>) -> Vec<String> {
        // Made once, whoever gets it.
        let [line, event] = [Form::Line, Form::Event].map(|form| message.encode(form));
        let mut cut_off = Vec::new();
        self.people.retain(|_, person| {
            let bytes = if person.form == Form::Line { &line } else { &event };
            let had_room = person.tell(bytes.clone());
            if !had_room {
                cut_off.push(std::mem::take(&mut person.nick));
            }
            had_room
        });
        cut_off
    }

    fn tell(&self, number: u64, message: &Message<'_>) {
        if let Some(person) = self.people.get(&number) {
            // Who has no room leaves with the connection.
            person.tell(message.encode(person.form));
        }
    }

    /// The person with this key.
    fn number(&self, key: &str) -> Option<u64> {
        let mut people = self.people.iter();
        people.find(|(_, person)| person.key.as_deref() == Some(key)).map(|(&number, _)| number)
    }

    /// The names of everybody, with a space between them.
    fn here(&self) -> String {
        self.everybody().collect::<Vec<_>>().join(" ")
    }

    fn everybody(&self) -> impl Iterator<Item = &str> {
        let here = self.people.values().map(|person| &person.nick);
        here.chain(self.elsewhere.values().flatten()).map(String::as_str)
    }

    /// A name that nobody has.
    fn check(&self, nick: &str) -> Result<String, Refused> {
        if !is_nick(nick) {
            return Err(Refused::NotAName);
        }
        let is_taken = self.everybody().any(|other| other.eq_ignore_ascii_case(nick));
        if is_taken { Err(Refused::Taken) } else { Ok(nick.to_owned()) }
    }

    fn guest(&self) -> String {
        let numbers = self.next + 1..;
        let mut guests = numbers.map(|n| format!("guest{n}"));
        guests.find(|nick| self.check(nick).is_ok()).unwrap_or_default()
    }
}

impl Person {
    /// Returns whether the queue had capacity; if not, the person is cut off. One who is
    /// about to go need not hear it.
    fn tell(&self, message: Bytes) -> bool {
        // Not everything is for everybody.
        if message.is_empty() {
            return true;
        }
        let full = matches!(self.pusher.try_push(message), Err(TryPushError::Full(_)));
        if full {
            self.pusher.abort();
        }
        !full
    }
}

impl Message<'_> {
    fn encode(&self, form: Form) -> Bytes {
        match (form, self) {
            (Form::Line, Message::Said { who, text }) => format!("{who}: {text}\r\n"),
            (Form::Line, Message::Notice(_, text)) => format!("* {text}\r\n"),
            (Form::Line, Message::Here(_) | Message::Ping) => return Bytes::new(),
            (Form::Event, Message::Said { who, text }) => {
                format!("event: said\ndata: {who}: {text}\n\n")
            }
            (Form::Event, Message::Notice(kind, text)) => {
                format!("event: {kind}\ndata: {text}\n\n")
            }
            (Form::Event, Message::Here(names)) => format!("event: here\ndata: {names}\n\n"),
            (Form::Event, Message::Ping) => ": ping\n\n".into(),
        }
        .into()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Taken => "somebody else has that name",
            Refused::NotAName => "a name is 1 to 20 letters, digits, - and _",
            Refused::Closed => "you are not in the room",
        })
    }
}

/// Returns a text that looks like itself alone: it cannot move a cursor, end an event, reverse
/// what stands beside it, or look like another line.
///
/// Controls, formats, also those for directions (UTR #36, bidirectional text spoofing), and
/// unassigned characters go. Runs of blanks become one space, and none stays at an end. No
/// mark stays without a letter, and no more than four on one (UTS #39, optional detection).
pub fn plain(text: &str) -> String {
    let (mut plain, mut marks) = (String::new(), 0);
    for c in text.chars() {
        let (c, is_mark) = match general_category(c) {
            // Scripts and emoji need the two joiners.
            Kind::NonspacingMark | Kind::EnclosingMark => (c, true),
            Kind::Format if matches!(c, '\u{200c}' | '\u{200d}') => (c, true),
            Kind::Control | Kind::Format | Kind::Unassigned => continue,
            _ if c.is_whitespace() || BLANKS.contains(&c) => (' ', false),
            _ => (c, false),
        };
        marks = if is_mark { marks + 1 } else { 0 };
        let is_after_blank = plain.is_empty() || plain.ends_with(' ');
        if marks <= 4 && !(is_after_blank && (c == ' ' || is_mark)) {
            plain.push(c);
        }
    }
    plain.trim_end().to_owned()
}

pub fn is_nick(nick: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=20).contains(&nick.len()) && nick.chars().all(is_allowed)
}

/// Letters and symbols without ink: those of Hangul, Braille, hieroglyphs and music.
const BLANKS: [char; 8] = [
    '\u{115f}',
    '\u{1160}',
    '\u{2800}',
    '\u{3164}',
    '\u{ffa0}',
    '\u{13441}',
    '\u{13442}',
    '\u{1d159}',
];

/// The time that somebody on a line has for a first word. A connection costs nothing, and
/// takes a place from others.
pub const FIRST_WORD: Duration = Duration::from_secs(120);

const HELP: &str = "/who, /nick NAME, /quit; anything else is sent to everybody";
