//! What a run tells over HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::exactly_once::CATCH_UP_MAX;

/// The address of a run's endpoints.
#[derive(Clone, Copy)]
pub(crate) struct Endpoints(SocketAddr);

impl Endpoints {
    /// An address that nobody listens on.
    pub(crate) fn free() -> Endpoints {
        Endpoints(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
    }

    /// The line of the job file that has a run serve them.
    pub(crate) fn line(self) -> String {
        format!("http: {}", self.0)
    }

    /// The whole answer, with its status; none while nobody listens.
    pub(crate) fn get(self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.0).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The sum of a metric over its labels; zero where there is none.
    pub(crate) fn metric(self, name: &str) -> f64 {
        let answer = self.get("/metrics").unwrap_or_default();
        let lines = answer.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Asks until an answer is as wanted.
    pub(crate) fn until(self, path: &str, holds: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            let answer = self.get(path);
            if answer.as_deref().is_some_and(&holds) {
                return;
            }
            assert!(started.elapsed() < CATCH_UP_MAX, "{path} never told what was expected: {answer:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
