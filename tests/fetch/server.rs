//! A web server on the loopback that does what a test wants of it, and remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response};
use futures::stream::{self, StreamExt};
use tokio::runtime::Runtime;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Path and query, as they came.
    pub path: String,
    pub headers: HeaderMap,
    /// How many requests came before it.
    pub before: usize,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Where the range begins that is asked for.
    pub fn range(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        Some(range.strip_suffix('-').unwrap().parse().unwrap())
    }
}

/// What to answer.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    ending: Ending,
}

#[derive(Clone, Copy)]
enum Ending {
    Whole,
    /// The connection breaks after so many bytes.
    Cut(usize),
    /// Nothing comes any more after so many bytes.
    Stall(usize),
    /// The length is not told.
    Unstated,
    /// So many bytes at a time, with a pause between.
    Slow(usize),
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            ending: Ending::Whole,
        }
    }

    /// A file as servers serve it: with its ETag, and ranges of it unless `If-Range` names another.
    pub fn file(asked: &Asked, content: &[u8], etag: &str) -> Self {
        let is_same = asked.header("if-range").is_none_or(|mark| mark == etag);
        let len = content.len();
        let answer = match asked.range() {
            Some(from) if is_same && from < len => Self::new(206, &content[from..])
                .with("content-range", &format!("bytes {from}-{}/{len}", len - 1)),
            Some(_) if is_same => {
                Self::new(416, "").with("content-range", &format!("bytes */{len}"))
            }
            _ => Self::new(200, content),
        };
        answer.with("etag", etag)
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    pub fn cut(mut self, after: usize) -> Self {
        self.ending = Ending::Cut(after);
        self
    }

    pub fn stall(mut self, after: usize) -> Self {
        self.ending = Ending::Stall(after);
        self
    }

    pub fn unstated(mut self) -> Self {
        self.ending = Ending::Unstated;
        self
    }

    pub fn slow(mut self, chunk: usize) -> Self {
        self.ending = Ending::Slow(chunk);
        self
    }

    fn response(self) -> Response<Body> {
        let Self {
            status,
            headers,
            body,
            ending,
        } = self;
        let len = body.len();
        let states_length = headers.iter().any(|(name, _)| name == "content-length");
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        let stated = match ending {
            Ending::Whole | Ending::Unstated => response,
            _ if states_length => response,
            _ => response.header("content-length", len),
        };
        let piece = |bytes: &[u8]| Ok::<_, std::io::Error>(Bytes::copy_from_slice(bytes));
        let body = match ending {
            Ending::Whole => Body::from(body),
            Ending::Unstated => {
                let pieces: Vec<_> = body.chunks(1000).map(piece).collect();
                Body::from_stream(stream::iter(pieces))
            }
            Ending::Cut(after) => {
                let broken = Err(std::io::Error::other("cut"));
                // What was sent before must have left before the break.
                let later = stream::once(async {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    broken
                });
                Body::from_stream(stream::iter([piece(&body[..after.min(len)])]).chain(later))
            }
            Ending::Stall(after) => Body::from_stream(
                stream::iter([piece(&body[..after.min(len)])]).chain(stream::pending()),
            ),
            Ending::Slow(chunk) => {
                let pieces: Vec<_> = body.chunks(chunk).map(piece).collect();
                Body::from_stream(stream::iter(pieces).then(|piece| async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    piece
                }))
            }
        };
        stated.body(body).unwrap()
    }
}

/// A server for as long as this lives.
pub struct Server {
    /// `http://127.0.0.1:port`, without a slash.
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _runtime: Runtime,
}

impl Server {
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let runtime = Runtime::new().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (answer, log) = (Arc::new(answer), Arc::clone(&asked));
        let router = axum::Router::new().fallback(move |request: Request| {
            let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
            async move {
                let mut log = log.lock().unwrap();
                let asked = Asked {
                    path: request.uri().to_string(),
                    headers: request.headers().clone(),
                    before: log.len(),
                };
                log.push(asked.clone());
                drop(log);
                answer(&asked).response()
            }
        });
        runtime.spawn(async { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            asked,
            _runtime: runtime,
        }
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// Bytes that look like nothing else, always the same.
pub fn bytes(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}
