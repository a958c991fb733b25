//! The table: a request, its answers, and what may go up for it.

use super::support::recorder::END;

/// One request that may go up: method and target, and the body.
#[derive(Clone)]
pub struct Up {
    pub line: String,
    pub body: Vec<u8>,
}

pub struct Row {
    pub name: String,
    pub sent: Vec<u8>,
    /// In their order; after the last one the connection ends.
    pub statuses: Vec<u16>,
    pub up: Vec<Up>,
    /// Whether the client closes its side behind it.
    pub is_cut_off: bool,
}

const BODY: &str = "{\"a\":1}~end~";

fn row(name: impl Into<String>, sent: impl AsRef<[u8]>, statuses: &[u16]) -> Row {
    let (name, sent) = (name.into(), sent.as_ref().to_vec());
    Row { name, sent, statuses: statuses.to_vec(), up: Vec::new(), is_cut_off: false }
}

impl Row {
    fn up(mut self, line: &str, body: impl AsRef<[u8]>) -> Self {
        self.up.push(Up { line: line.into(), body: body.as_ref().to_vec() });
        self
    }

    fn cut_off(mut self) -> Self {
        self.is_cut_off = true;
        self
    }
}

/// What any client sends.
pub fn sentinel(host: &str) -> Row {
    let body = format!("{{\"sentinel\":true}}{}", String::from_utf8_lossy(END));
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    row("a good one", head + &body, &[200]).up("POST /v1/messages", body)
}

pub fn rows(host: &str) -> Vec<Row> {
    let with = Requests { host };
    let mut rows = Vec::new();
    rows.extend(with.lengths());
    rows.extend(with.codings());
    rows.extend(with.chunks());
    rows.extend(with.pipelines());
    rows.extend(with.lines());
    rows.extend(with.request_lines());
    rows.extend(with.hosts());
    rows.extend(with.origins());
    rows.extend(with.targets());
    rows.extend(with.methods());
    rows.extend(with.expectations_and_upgrades());
    rows.extend(with.sizes());
    rows
}

struct Requests<'a> {
    host: &'a str,
}

impl Requests<'_> {
    /// A POST with these header lines besides `Host`.
    fn post(&self, lines: &str, body: &str) -> String {
        format!("POST /v1/messages HTTP/1.1\r\nhost: {}\r\n{lines}\r\n\r\n{body}", self.host)
    }

    /// A POST whose length is right, with these header lines.
    fn fine(&self, lines: &str) -> String {
        self.post(&format!("content-length: {}\r\nconnection: close{lines}", BODY.len()), BODY)
    }

    /// What would be a request of its own if somebody took the bytes before it for all of one.
    fn smuggled(&self) -> String {
        format!("GET /v1/smuggled HTTP/1.1\r\nhost: {}\r\n\r\n", self.host)
    }

    fn lengths(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = [
            "-1",
            "+12",
            "12,12",
            "12, 12",
            "12, 13",
            "0x0c",
            "1 2",
            "12;",
            "12.0",
            "1e1",
            "",
            "\"12\"",
            "\u{0661}",
            "twelve",
            "12\u{b}",
            "9223372036854775808",
            "18446744073709551628",
            "99999999999999999999999999",
        ]
        .iter()
        .map(|length| {
            let sent = self.post(&format!("content-length: {length}"), &(BODY.to_owned() + &self.smuggled()));
            row(format!("a length of {length:?}"), sent, &[400])
        })
        .collect();
        for (name, lines) in [
            ("two lengths", "content-length: 12\r\ncontent-length: 13"),
            ("the same length twice", "content-length: 12\r\nContent-Length: 12"),
            ("no length beside one", "content-length: 0\r\ncontent-length: 12"),
        ] {
            rows.push(row(name, self.post(lines, &(BODY.to_owned() + &self.smuggled())), &[400]));
        }
        rows.push(row(
            "a length above max_body",
            self.post("content-length: 9223372036854775807", "x"),
            &[413],
        ));
        for (name, length) in
            [("a length with zeros before it", "0012"), ("a length among white space", "\t 12 \t")]
        {
            let sent = self.post(&format!("content-length: {length}\r\nconnection: close"), BODY);
            rows.push(row(name, sent, &[200]).up("POST /v1/messages", BODY));
        }
        rows.push(row("a body that is cut off", self.post("content-length: 13", BODY), &[400]).cut_off());
        rows.push(
            row("chunks that are cut off", self.post("transfer-encoding: chunked", "c\r\n{\"a"), &[400])
                .cut_off(),
        );
        rows.push(row("a head that is cut off", "POST /v1/messages HTTP/1.1\r\nhost: ", &[]).cut_off());
        rows
    }

    fn codings(&self) -> Vec<Row> {
        let chunked = format!("c\r\n{BODY}\r\n0\r\n\r\n{}", self.smuggled());
        let mut rows: Vec<Row> = [
            ("CL.TE", "content-length: 6\r\ntransfer-encoding: chunked"),
            ("TE.CL", "transfer-encoding: chunked\r\ncontent-length: 4"),
            ("no length, and chunked", "content-length: 0\r\ntransfer-encoding: chunked"),
            ("a length, and identity", "content-length: 12\r\ntransfer-encoding: identity"),
            ("chunked twice", "transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
            ("chunked, then identity", "transfer-encoding: chunked\r\ntransfer-encoding: identity"),
            ("identity, then chunked", "transfer-encoding: identity\r\ntransfer-encoding: chunked"),
            ("an unknown one, then chunked", "transfer-encoding: x\r\nTransfer-Encoding: chunked"),
            ("a list that ends in identity", "transfer-encoding: chunked, identity"),
            ("a list that ends in chunked", "transfer-encoding: gzip, chunked"),
            ("a list of the same", "transfer-encoding: chunked, chunked"),
            ("a list with nothing in it", "transfer-encoding: chunked,"),
            ("a list that begins with nothing", "transfer-encoding: , chunked"),
            ("identity alone", "transfer-encoding: identity"),
            ("gzip alone", "transfer-encoding: gzip"),
            ("nothing", "transfer-encoding:"),
            ("a parameter", "transfer-encoding: chunked;q=1"),
            ("in quotes", "transfer-encoding: \"chunked\""),
            ("a longer word", "transfer-encoding: xchunked"),
            ("two words", "transfer-encoding: x chunked"),
            ("a vertical tab behind", "transfer-encoding: chunked\u{b}"),
            ("a vertical tab before", "transfer-encoding: \u{b}chunked"),
            ("a NUL behind", "transfer-encoding: chunked\0"),
            ("a letter that lowers to k", "transfer-encoding: chun\u{212a}ed"),
            ("a space before the colon", "transfer-encoding : chunked"),
            ("a tab before the colon", "transfer-encoding\t: chunked"),
            ("a line of its own kind", " transfer-encoding: chunked"),
            ("folded", "transfer-encoding:\r\n chunked"),
            ("folded into another", "x: y\r\n transfer-encoding: chunked"),
            ("behind a bare CR", "x: y\rtransfer-encoding: chunked"),
            ("behind a bare LF", "x: y\ntransfer-encoding: chunked"),
        ]
        .iter()
        .map(|(name, lines)| row(format!("transfer-encoding: {name}"), self.post(lines, &chunked), &[400]))
        .collect();
        let old = self.post("transfer-encoding: chunked", &chunked).replacen("HTTP/1.1", "HTTP/1.0", 1);
        rows.push(row("chunks in HTTP/1.0", old, &[400]));
        let odd_case = self.post("Transfer-Encoding: \tChUnKeD \r\nconnection: close", &chunked);
        rows.push(row("chunked in odd case", odd_case, &[200]).up("POST /v1/messages", BODY));
        rows
    }

    fn chunks(&self) -> Vec<Row> {
        let head = "transfer-encoding: chunked\r\nconnection: close";
        let mut rows: Vec<Row> = [
            ("FFFFFFFFFFFFFFFFF\r\n", "a size that overflows"),
            ("10000000000000000c\r\n", "a size that is 12 when cut to 64 bits"),
            ("0xc\r\n{\"a\":1}~end~\r\n0\r\n\r\n", "a size with 0x"),
            ("-c\r\n{\"a\":1}~end~\r\n0\r\n\r\n", "a negative size"),
            ("+c\r\n{\"a\":1}~end~\r\n0\r\n\r\n", "a size with a sign"),
            (" c\r\n{\"a\":1}~end~\r\n0\r\n\r\n", "a space before a size"),
            ("\r\n{\"a\":1}~end~\r\n0\r\n\r\n", "no size"),
            ("g\r\n", "a size of no digits"),
            ("c c\r\n{\"a\":1}~end~\r\n0\r\n\r\n", "two sizes"),
            ("c\n{\"a\":1}~end~\r\n0\r\n\r\n", "a bare LF behind a size"),
            ("c\r{\"a\":1}~end~\r\n0\r\n\r\n", "a bare CR behind a size"),
            ("c;x\n{\"a\":1}~end~\r\n0\r\n\r\n", "an extension that ends in a bare LF"),
            ("c;x\0\r\n{\"a\":1}~end~\r\n0\r\n\r\n", "an extension with a NUL"),
            ("c\r\n{\"a\":1}~end~0\r\n\r\n", "no line end behind data"),
            ("c\r\n{\"a\":1}~end~\n0\r\n\r\n", "a bare LF behind data"),
            ("b\r\n{\"a\":1}~end~\r\n0\r\n\r\n", "more data than its size"),
            ("d\r\n{\"a\":1}~end~\r\n0\r\n\r\n", "less data than its size"),
            ("c\r\n{\"a\":1}~end~\r\n0\n\r\n", "a bare LF behind the last size"),
            ("c\r\n{\"a\":1}~end~\r\n0\r\n\n", "a bare LF as the end"),
            ("c\r\n{\"a\":1}~end~\r\n0\r\nx: y\n\r\n", "a trailer that ends in a bare LF"),
            ("c\r\n{\"a\":1}~end~\r\n0\r\nx: \0\r\n\r\n", "a trailer with a NUL"),
        ]
        .iter()
        .map(|(chunks, name)| {
            row(format!("chunks: {name}"), self.post(head, &(chunks.to_string() + &self.smuggled())), &[400])
        })
        .collect();
        for (name, chunks) in [
            ("zeros before a size", "000c\r\n{\"a\":1}~end~\r\n0000\r\n\r\n"),
            ("extensions", "c;a=\"b\" ;c\r\n{\"a\":1}~end~\r\n0;x\r\n\r\n"),
            ("small ones", "1\r\n{\r\n6\r\n\"a\":1}\r\n5\r\n~end~\r\n0\r\n\r\n"),
            ("trailers", "c\r\n{\"a\":1}~end~\r\n0\r\nx-api-key: k\r\nx: y\r\n\r\n"),
            ("a length in the trailers", "c\r\n{\"a\":1}~end~\r\n0\r\ncontent-length: 50\r\n\r\n"),
            ("a coding in the trailers", "c\r\n{\"a\":1}~end~\r\n0\r\ntransfer-encoding: x\r\n\r\n"),
        ] {
            rows.push(
                row(format!("chunks: {name}"), self.post(head, chunks), &[200]).up("POST /v1/messages", BODY),
            );
        }
        rows
    }

    fn pipelines(&self) -> Vec<Row> {
        let kept = self.post(&format!("content-length: {}", BODY.len()), BODY);
        let inner = format!("{}{BODY}", self.smuggled());
        let within = self.post(&format!("content-length: {}\r\nconnection: close", inner.len()), &inner);
        let bad = self.post("content-length: 12\r\ntransfer-encoding: chunked", "0\r\n\r\n");
        vec![
            row("two in a row", kept.clone() + &self.fine(""), &[200, 200])
                .up("POST /v1/messages", BODY)
                .up("POST /v1/messages", BODY),
            row("empty lines between two", kept.clone() + "\r\n\r\n" + &self.fine(""), &[200, 200])
                .up("POST /v1/messages", BODY)
                .up("POST /v1/messages", BODY),
            row("a good one, then a bad one", kept.clone() + &bad + &self.smuggled(), &[200, 400])
                .up("POST /v1/messages", BODY),
            row("a bad one, then a good one", bad + &kept, &[400]),
            row("a request within a body", within, &[200]).up("POST /v1/messages", inner),
            row("more behind a close", self.fine("") + &self.smuggled(), &[200])
                .up("POST /v1/messages", BODY),
            row("garbage behind a request", kept + "~end~garbage\r\n\r\n", &[200, 400])
                .up("POST /v1/messages", BODY),
            row(
                "a GET with a body of a request",
                {
                    let head =
                        format!("GET /v1/models HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.host);
                    head + "content-length: 0\r\n\r\n" + &self.smuggled()
                },
                &[200],
            )
            .up("GET /v1/models", ""),
        ]
    }

    fn lines(&self) -> Vec<Row> {
        [
            ("no colon", "x"),
            ("no name", ": y"),
            ("a space in a name", "x y: z"),
            ("a space before the colon", "x : y"),
            ("a parenthesis in a name", "x(y): z"),
            ("a NUL in a name", "x\0: y"),
            ("a NUL in a value", "x: a\0b"),
            ("a NUL in a key", "x-api-key: a\0b"),
            ("an escape in a value", "x: \u{1b}[2J"),
            ("a backspace in a value", "x: a\u{8}"),
            ("a DEL in a value", "x: \u{7f}"),
            ("a name beyond ASCII", "h\u{f6}st: x"),
            ("a bare CR in a value", "x: a\rb: c"),
            ("a bare LF in a value", "x: a\nb: c"),
            ("CR CR LF", "x: y\r\r\nz: w"),
            ("a folded line", "x: y\r\n z"),
            ("a folded line with a tab", "x: y\r\n\tz"),
        ]
        .iter()
        .map(|(name, line)| row(format!("header lines: {name}"), self.fine(&format!("\r\n{line}")), &[400]))
        .chain([row(
            "header lines: a folded first one",
            self.fine("").replacen("host:", " host:", 1),
            &[400],
        )])
        .collect()
    }

    fn request_lines(&self) -> Vec<Row> {
        let fine = self.fine("");
        let (_, rest) = fine.split_once("\r\n").expect("a request line");
        [
            ("POST  /v1/messages HTTP/1.1", "two spaces"),
            ("POST\t/v1/messages HTTP/1.1", "a tab"),
            (" POST /v1/messages HTTP/1.1", "a space first"),
            ("POST /v1/messages HTTP/1.1 ", "a space last"),
            ("POST /v1/messages x HTTP/1.1", "a space in the target"),
            ("POST /v1/messages", "no version"),
            ("POST HTTP/1.1", "no target"),
            ("/v1/messages HTTP/1.1", "no method"),
            ("POST /v1/messages HTTP/1.2", "a version to come"),
            ("POST /v1/messages HTTP/1", "half a version"),
            ("POST /v1/messages HTTP/01.1", "a longer version"),
            ("POST /v1/messages HTTP/2.0", "another version"),
            ("POST /v1/messages http/1.1", "a version in lower case"),
            ("POST /v1/messages HTTPS/1.1", "another protocol"),
            ("P(ST /v1/messages HTTP/1.1", "a method that is no token"),
            ("POST /v1/messages\u{b}HTTP/1.1", "a vertical tab"),
            ("POST /v1/\0 HTTP/1.1", "a NUL"),
        ]
        .iter()
        .map(|(line, name)| row(format!("a request line with {name}"), format!("{line}\r\n{rest}"), &[400]))
        .chain([
            row("a greeting of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[400]),
            row("HTTP/0.9", "GET /v1/models\r\n", &[400]),
            row("a bare LF behind the request line", fine.replacen("\r\n", "\n", 1), &[400]),
            row("a bare CR behind the request line", fine.replacen("\r\n", "\r", 1), &[400]),
            row("bare LFs only", fine.replace("\r\n", "\n"), &[400]),
            row("a preface of HTTP/2 that is none", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", &[400]),
            row("half a preface of HTTP/2", "PRI * HTTP/2.0\r\n", &[]).cut_off(),
        ])
        .collect()
    }

    fn hosts(&self) -> Vec<Row> {
        let fine = self.fine("");
        let of_host = |host: &str| fine.replacen(self.host, host, 1);
        let foreign = [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "localhost.",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.01",
            "0.0.0.0",
            "[::]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
        ];
        let malformed = [
            "",
            ":80",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "localhost:-1",
            "localhost:80:80",
            "localhost:80,evil.example",
            "localhost, evil.example",
            "localhost evil.example",
            "user@localhost",
            "evil.example@localhost",
            "localhost/",
            "localhost#",
            "localhost?",
            "localhost\\evil",
            "%6cocalhost",
            "..localhost",
            "[::1",
            "::1",
            "[::1%25lo]",
            "http://localhost",
            "*",
        ];
        let mut rows: Vec<Row> = foreign
            .iter()
            .map(|host| row(format!("a Host of {host:?}"), of_host(host), &[421]))
            .chain(malformed.iter().map(|host| row(format!("a Host of {host:?}"), of_host(host), &[400])))
            .collect();
        let host_line = format!("host: {}\r\n", self.host);
        rows.push(row("no Host", fine.replacen(&host_line, "", 1), &[400]));
        let old = fine.replacen(&host_line, "", 1).replacen("HTTP/1.1", "HTTP/1.0", 1);
        rows.push(row("no Host in HTTP/1.0", old, &[400]));
        for second in [self.host, "evil.example", ""] {
            let two = fine.replacen(&host_line, &format!("{host_line}Host: {second}\r\n"), 1);
            rows.push(row(format!("a second Host of {second:?}"), two, &[400]));
        }
        for host in ["localhost", "LOCALHOST:1", "x.localhost", "[::1]:7860", "127.255.255.254"] {
            rows.push(
                row(format!("a Host of {host:?}"), of_host(host), &[200]).up("POST /v1/messages", BODY),
            );
        }
        rows
    }

    fn origins(&self) -> Vec<Row> {
        let own = format!("http://{}", self.host);
        let foreign = [
            "origin: http://evil.example".to_owned(),
            "origin: null".into(),
            "origin:".into(),
            "origin: http://127.0.0.1".into(),
            "origin: http://127.0.0.1:1".into(),
            format!("origin: https://{}", self.host),
            format!("origin: {own}/"),
            format!("origin: {own}, http://evil.example"),
            format!("origin: {own}\r\norigin: http://evil.example"),
            format!("origin: {own}@evil.example"),
            format!("origin: {own}.evil.example"),
            "sec-fetch-site: cross-site".into(),
            "sec-fetch-site: same-site".into(),
            format!("origin: {own}\r\nsec-fetch-site: cross-site"),
        ];
        let mut rows: Vec<Row> = foreign
            .iter()
            .map(|lines| row(format!("a page: {lines:?}"), self.fine(&format!("\r\n{lines}")), &[403]))
            .collect();
        for lines in
            [format!("origin: {own}"), "sec-fetch-site: none".into(), "sec-fetch-site: same-origin".into()]
        {
            let sent = self.fine(&format!("\r\n{lines}"));
            rows.push(row(format!("a page: {lines:?}"), sent, &[200]).up("POST /v1/messages", BODY));
        }
        let preflight = format!(
            "OPTIONS /v1/messages HTTP/1.1\r\nhost: {}\r\norigin: http://evil.example\r\n\
             access-control-request-method: POST\r\n\r\n",
            self.host
        );
        rows.push(row("a page asks whether it may", preflight, &[403]));
        rows
    }

    fn targets(&self) -> Vec<Row> {
        let fine = self.fine("");
        let of_target = |target: &str| fine.replacen("/v1/messages", target, 1);
        let host = self.host;
        let refused = [
            "/v1/../v1/messages",
            "/v1/./messages",
            "/v1/..",
            "/v1/%2e%2e/messages",
            "/v1/.%2E/messages",
            "/v1/%2E./messages",
            "/v1/%252e%252e/messages",
            "/v1/%25%32%65",
            "/v1/messages%2f..%2f",
            "/v1/a%5C..%5cb",
            "/v1/a\\..\\b",
            "/v1//messages",
            "//v1/messages",
            "//evil.example/v1/messages",
            "/v1/..;/messages",
            "/v1/..;x=y/messages",
            "/v1/.;/messages",
            "/v1/..%3b/messages",
            "/v1/;/messages",
            "/v1/messages%00",
            "/v1/messages%0d%0ahost:%20evil",
            "/v1/messages%09",
            "/v1/messages%23",
            "/v1/%23@evil.example/",
            "/v1/messages%3Fx",
            "/v1/messages#",
            "/v1/messages?x#y",
            "#/v1/messages",
            "/v1/%c0%ae%c0%ae/messages",
            "/v1/%c0%afmessages",
            "/v1/%e0%80%afmessages",
            "/v1/%ff",
            "/v1/messages%",
            "/v1/messages%2",
            "/v1/messages%g0",
            "/v1/%u002e%u002e/",
            "/v1/\u{ff0e}\u{ff0e}/",
            "/v1/messages\"",
            "/v1/<x>",
            "/v1/{x}",
            "/v1/messages?\u{fc}",
            "/v1/messages?<",
            "*",
            "?",
            "v1/messages",
            "evil.example:80",
            "@evil.example/v1/messages",
            ".evil.example/v1/messages",
            "http://evil.example/v1/messages",
            &format!("http://user@{host}/v1/messages"),
            &format!("http://{host}@evil.example/v1/messages"),
            &format!("http://{host}.evil.example/v1/messages"),
            &format!("ftp://{host}/v1/messages"),
            &format!("http:///{host}/v1/messages"),
            &format!("http://{host}/v1/../messages"),
            "javascript:alert(1)",
        ]
        .map(|target| row(format!("a target of {target:?}"), of_target(target), &[400]));
        let passing = [
            "/v1/messages?beta=true&x=../..//%2e%2e%00",
            "/v1/messages?",
            "/v1/messages?a?b=@evil.example:80/",
            "/v1/files/a..b;c=1@d",
            "/v1/files/a%20b%C3%BC%3bc",
            "/v1/files/...",
        ]
        .map(|target| {
            row(format!("a target of {target:?}"), of_target(target), &[200])
                .up(&format!("POST {target}"), BODY)
        });
        let absolute =
            row("a target in absolute form", of_target(&format!("http://{host}/v1/messages?x=1")), &[200])
                .up("POST /v1/messages?x=1", BODY);
        refused.into_iter().chain(passing).chain([absolute]).collect()
    }

    fn methods(&self) -> Vec<Row> {
        let fine = self.fine("");
        let of_method = |method: &str| fine.replacen("POST", method, 1);
        let mut rows: Vec<Row> =
            ["TRACE", "TRACK", "post", "Post", "PROPFIND", "QUERY", "PURGE", "QCC-REFUSED", "PRIX", "X'!#$"]
                .iter()
                .map(|method| row(format!("the method {method}"), of_method(method), &[405]))
                .collect();
        let host = self.host;
        let bare = |line: &str, lines: &str| {
            format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close{lines}\r\n\r\n")
        };
        rows.extend([
            row("a tunnel", "CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example:443\r\n\r\n", &[405]),
            row("a tunnel to itself", format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n"), &[405]),
            row("OPTIONS for the whole server", bare("OPTIONS *", ""), &[204]),
            row("OPTIONS that goes no further", bare("OPTIONS /v1/messages", "\r\nmax-forwards: 0"), &[204]),
            row(
                "OPTIONS with two ends",
                bare("OPTIONS /v1/messages", "\r\nmax-forwards: 0\r\nmax-forwards: 9"),
                &[400],
            ),
            row("OPTIONS with no number", bare("OPTIONS /v1/messages", "\r\nmax-forwards: -1"), &[400]),
            row("OPTIONS that goes on", bare("OPTIONS /v1/messages", "\r\nmax-forwards: 3"), &[200])
                .up("OPTIONS /v1/messages", ""),
            row("HEAD", bare("HEAD /v1/models", ""), &[200]).up("HEAD /v1/models", ""),
            row("DELETE", bare("DELETE /v1/files/x", ""), &[200]).up("DELETE /v1/files/x", ""),
        ]);
        rows
    }

    fn expectations_and_upgrades(&self) -> Vec<Row> {
        vec![
            row("an expectation that is met", self.fine("\r\nexpect: 100-continue"), &[100, 200])
                .up("POST /v1/messages", BODY),
            row("an unknown expectation", self.fine("\r\nexpect: 200-maybe"), &[417]),
            row("two expectations", self.fine("\r\nexpect: 100-continue\r\nexpect: x"), &[417]),
            row("no expectation", self.fine("\r\nexpect:"), &[417]),
            row(
                "an upgrade to HTTP/2",
                self.fine("\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA"),
                &[400],
            ),
            row("an upgrade to TLS", self.fine("\r\nupgrade: TLS/1.2, HTTP/1.1"), &[400]),
            row("an upgrade to a WebSocket", self.fine("\r\nupgrade: websocket"), &[400]),
        ]
    }

    fn sizes(&self) -> Vec<Row> {
        let long = "x".repeat(16 * 1024);
        let fields = "\r\nx: y".repeat(100);
        vec![
            row("too many header lines", self.fine(&fields), &[431]),
            row(
                "a header line that is too long",
                self.fine(&format!("\r\nx: {}", "y".repeat(64 * 1024))),
                &[431],
            ),
            row("a name that is too long", self.fine(&format!("\r\n{}: y", "x".repeat(64 * 1024))), &[431]),
            row("a target that is too long", self.fine("").replacen("messages", &long, 1), &[414]),
            row(
                "a query that is too long",
                self.fine("").replacen("messages", &format!("messages?{long}"), 1),
                &[414],
            ),
        ]
    }
}
