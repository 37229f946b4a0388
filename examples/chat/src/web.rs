//! The people in a browser: a page, server-sent events to the page, and `POST` from it.

use crate::http::{self, Body, HEAD_END, Request, Status};
use crate::room::{Form, Refused, Room, Seat};
use asynchat::{Control, Error, Handler, Terminator, Timeout, Timeouts};
use std::net::IpAddr;
use std::sync::Arc;

/// One connection of a browser.
pub struct Web {
    room: Arc<Room>,
    /// The names under which browsers come, and the address they are connected to.
    hosts: Arc<Vec<String>>,
    here: Option<IpAddr>,
    state: State,
    keep_alive: bool,
    /// The request is for the head of the answer alone.
    is_head: bool,
}

/// The meaning of the next frame.
enum State {
    Head,
    /// A message of the person with this key.
    Say(String),
    /// Nothing: the connection is for the events.
    Listening {
        _seat: Seat,
    },
}

impl Web {
    pub fn new(room: Arc<Room>, hosts: Arc<Vec<String>>, here: Option<IpAddr>) -> Self {
        Web { room, hosts, here, state: State::Head, keep_alive: false, is_head: false }
    }

    fn head(&mut self, channel: &mut Control<'_>, head: &[u8]) -> Result<(), Status> {
        let request = Request::parse(head)?;
        let text = String::from_utf8_lossy(head);
        self.check_origin(&request, &text)?;
        self.keep_alive = request.keep_alive;
        self.is_head = request.method == "HEAD";
        match (request.method, request.path, request.body) {
            ("POST", "/say", Body::Length(length)) => {
                if length > MAX_LINE as u64 {
                    return Err(http::CONTENT_TOO_LARGE);
                }
                let key = request.query.strip_prefix("key=").ok_or(http::BAD_REQUEST)?;
                if request.expects_continue {
                    channel.push("HTTP/1.1 100 Continue\r\n\r\n");
                }
                self.state = State::Say(key.to_owned());
                channel.set_terminator(length);
                Ok(())
            }
            (_, "/say", _) => Err(http::METHOD_NOT_ALLOWED),
            ("GET" | "HEAD", _, Body::Length(0)) => self.get(channel, &request, &text),
            ("GET" | "HEAD", ..) => Err(http::BAD_REQUEST),
            _ => Err(http::METHOD_NOT_ALLOWED),
        }
    }

    /// Refuses a request that a page of another origin can make a browser send.
    fn check_origin(&self, request: &Request<'_>, head: &str) -> Result<(), Status> {
        if !request.host.is_none_or(|host| self.is_ours(host)) {
            return Err("421 Not a name of this server (see --host)");
        }
        let is_foreign = |site| site != "same-origin" && site != "none";
        match (field(head, "Origin"), field(head, "Sec-Fetch-Site")) {
            (Some(origin), _)
                if !self.is_ours(origin.split_once("://").map_or(origin, |(_, host)| host)) =>
            {
                Err("403 Not an origin of this server (see --host)")
            }
            // The page itself may be linked to.
            (_, Some(site)) if is_foreign(site) && request.path != "/" => Err(FORBIDDEN),
            _ => Ok(()),
        }
    }

    /// Returns whether a host is this server. The port may be that of a proxy.
    fn is_ours(&self, host: &str) -> bool {
        http::is_ours(host, &self.hosts, |address| Some(address) == self.here)
    }

    fn get(
        &mut self,
        channel: &mut Control<'_>,
        request: &Request<'_>,
        head: &str,
    ) -> Result<(), Status> {
        let (kind, file) = match request.path {
            "/" => ("text/html", include_str!("page.html")),
            "/page.js" => ("text/javascript", include_str!("page.js")),
            "/page.css" => ("text/css", include_str!("page.css")),
            "/events" if !self.is_head => return self.listen(channel, request.query, head),
            _ => return Err(http::NOT_FOUND),
        };
        self.answer(channel, http::OK, kind, file);
        Ok(())
    }

    fn listen(&mut self, channel: &mut Control<'_>, query: &str, head: &str) -> Result<(), Status> {
        let nick = query.strip_prefix("nick=").ok_or(http::BAD_REQUEST)?;
        // An image of a foreign page has no `Origin`, but cannot have this field either.
        let key = field(head, "Last-Event-ID").ok_or(FORBIDDEN)?;
        // The head goes first: the messages of the room come through a pusher, and join the
        // queue when this callback is over.
        let seat = self.room.join(channel.pusher(), Form::Event, Some(nick), Some(key));
        let seat = seat.map_err(|refused| match refused {
            Refused::Taken => "409 Conflict",
            Refused::NotAName => http::BAD_REQUEST,
            Refused::Closed => "503 Service Unavailable",
        })?;
        channel.push(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Cache-Control: no-store\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n",
        );
        self.state = State::Listening { _seat: seat };
        channel.set_terminator(Terminator::none());
        // However quiet the room is.
        channel.set_timeouts(Timeouts { idle: None, ..channel.timeouts() });
        Ok(())
    }

    fn answer(&self, channel: &mut Control<'_>, status: Status, kind: &str, body: &'static str) {
        let length = body.len();
        let connection = if self.keep_alive { "keep-alive" } else { "close" };
        let allow = match status {
            http::METHOD_NOT_ALLOWED => "Allow: GET, HEAD, POST\r\n",
            _ => "",
        };
        channel.push(format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\n\
             Content-Length: {length}\r\n\
             Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; \
             base-uri 'none'; form-action 'self'\r\n\
             X-Content-Type-Options: nosniff\r\n{allow}Connection: {connection}\r\n\r\n"
        ));
        if !self.is_head {
            channel.push(body);
        }
        if !self.keep_alive {
            channel.close_when_done();
        }
    }

    /// Answers with an error; how the next request begins is then not certain.
    fn refuse(&mut self, channel: &mut Control<'_>, status: Status) {
        self.keep_alive = false;
        self.answer(channel, status, "text/plain", status);
    }
}

impl Handler for Web {
    type Error = Error;

    fn frame(&mut self, channel: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        match &self.state {
            State::Head => {
                if let Err(status) = self.head(channel, data) {
                    self.refuse(channel, status);
                }
            }
            State::Say(key) => {
                match self.room.hear_by_key(key, data) {
                    Ok(()) => self.answer(channel, http::OK, "text/plain", ""),
                    Err(_) => self.refuse(channel, FORBIDDEN),
                }
                self.state = State::Head;
                channel.set_terminator(HEAD_END.clone());
            }
            State::Listening { .. } => {}
        }
        Ok(())
    }

    fn frame_too_long(&mut self, channel: &mut Control<'_>, _: usize) -> Result<(), Error> {
        self.refuse(channel, http::FIELDS_TOO_LARGE);
        Ok(())
    }

    fn timed_out(&mut self, channel: &mut Control<'_>, timeout: Timeout) -> Result<(), Error> {
        match (&self.state, timeout) {
            // Nothing was asked.
            (State::Head, Timeout::Idle(_)) => channel.close_when_done(),
            _ => self.refuse(channel, http::REQUEST_TIMEOUT),
        }
        Ok(())
    }
}

/// Returns the value of a field, in a head that has been parsed.
fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|field| field.0.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

const FORBIDDEN: Status = "403 Forbidden";

/// The most bytes of a message.
pub const MAX_LINE: usize = 1000;
