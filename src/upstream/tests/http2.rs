//! What comes of requests that wait for their streams, and of answers that nobody takes.

use std::sync::atomic::AtomicUsize;

use super::super::connect::Stream;
use super::super::http2::Http2;
use super::*;

async fn http2(stream: Stream, gate: Arc<dyn Admission>) -> Arc<Http2> {
    let places = Arc::new(AtomicUsize::new(1));
    Http2::open(stream, gate, "llm.example".parse().unwrap(), None, &places).await.unwrap()
}

/// A server of one stream at a time. The second one is opened when the first is answered.
struct OneAtATime {
    address: SocketAddr,
    /// Lets the first answer go; the others do not wait.
    answer: tokio::sync::oneshot::Sender<()>,
    /// Requests that came whole.
    wholes: tokio::sync::mpsc::UnboundedReceiver<()>,
}

impl OneAtATime {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, told) = tokio::sync::oneshot::channel::<()>();
        let (whole, wholes) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut builder = h2::server::Builder::new();
            let mut server = builder.max_concurrent_streams(1).handshake::<_, Bytes>(stream).await.unwrap();
            let mut told = Some(told);
            while let Some(Ok((request, mut respond))) = server.accept().await {
                let (whole, told) = (whole.clone(), told.take());
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    while let Some(piece) = body.data().await {
                        let Ok(_) = piece else { return };
                    }
                    whole.send(()).unwrap();
                    if let Some(told) = told {
                        told.await.unwrap();
                    }
                    let _ = respond.send_response(hyper::Response::new(()), true);
                });
            }
        });
        Self { address, answer, wholes }
    }
}

#[tokio::test]
async fn a_stream_that_waited_for_its_turn_is_not_sent_whole_once_the_endpoint_has_left() {
    let OneAtATime { address, answer, mut wholes } = OneAtATime::start().await;
    let service = Service::running();
    let stream = Stream::Plain(Socket::from(tokio::net::TcpStream::connect(address).await.unwrap()));
    let connection = http2(stream, service.clone()).await;
    let origin = origin(address);
    let (first, second) = (connection.place_of_opener(), connection.place_of_opener());
    let asked = post(&origin);
    let first = tokio::spawn(async move { first.send(asked, stamp()).await.map(drop) });
    wholes.recv().await.unwrap();
    let asked = post(&origin);
    let second = tokio::spawn(async move { second.send(asked, stamp()).await.map(drop) });
    tokio::task::yield_now().await;
    service.leave();
    answer.send(()).unwrap();
    assert!(first.await.unwrap().is_ok());
    assert!(matches!(second.await.unwrap(), Err(SendError::Refused)));
    assert!(wholes.try_recv().is_err(), "the second request came whole");

    let third = connection.place().unwrap();
    assert!(connection.place().is_none(), "the server takes one at a time");
    assert!(matches!(third.send(post(&origin), stamp()).await.map(drop), Err(SendError::Refused)));
}

#[tokio::test]
async fn a_stream_that_waited_for_its_turn_is_not_sent_whole_once_its_client_has_left() {
    let mut server = OneAtATime::start().await;
    let service = Service::running();
    let stream = Stream::Plain(Socket::from(tokio::net::TcpStream::connect(server.address).await.unwrap()));
    let connection = http2(stream, service.clone()).await;
    let origin = origin(server.address);
    let (first, second) = (connection.place_of_opener(), connection.place_of_opener());
    let asked = post(&origin);
    let first = tokio::spawn(async move { first.send(asked, stamp()).await.map(drop) });
    server.wholes.recv().await.unwrap();
    let asked = post(&origin);
    let second = tokio::spawn(async move { second.send(asked, stamp()).await.map(drop) });
    tokio::task::yield_now().await;
    second.abort();
    assert!(second.await.is_err());
    server.answer.send(()).unwrap();
    assert!(first.await.unwrap().is_ok());
    // What comes after it is answered, so the server has heard of it by then what it ever will.
    let third = connection.place().unwrap();
    assert!(third.send(post(&origin), stamp()).await.is_ok());
    server.wholes.recv().await.unwrap();
    assert!(server.wholes.try_recv().is_err(), "the second request came whole");
}

#[tokio::test]
async fn an_http2_upstream_sends_no_more_than_a_window_ahead_of_its_client() {
    const WHOLE_BYTES: usize = 3 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stalled, mut stalls) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut server = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = server.accept().await {
            let stalled = stalled.clone();
            tokio::spawn(async move {
                let mut sending = respond.send_response(hyper::Response::new(()), false).unwrap();
                let mut left = WHOLE_BYTES;
                sending.reserve_capacity(left);
                while left > 0 {
                    let granted = std::future::poll_fn(|cx| {
                        let polled = sending.poll_capacity(cx);
                        if polled.is_pending() {
                            stalled.send(WHOLE_BYTES - left).unwrap();
                        }
                        polled
                    });
                    let room = granted.await.unwrap().unwrap().min(left);
                    left -= room;
                    sending.send_data(Bytes::from(vec![b'x'; room]), left == 0).unwrap();
                }
            });
        }
    });
    let stream = Stream::Plain(Socket::from(tokio::net::TcpStream::connect(address).await.unwrap()));
    let gate: Arc<dyn Admission> = Service::running();
    let connection = http2(stream, gate).await;
    let place = connection.place_of_opener();
    let response = place.send(post(&origin(address)), stamp()).await.unwrap();
    // Nothing is read, so the window fills, and the upstream waits there.
    let window = 1 << 20;
    while stalls.recv().await.unwrap() < window {}
    for _ in 0..100 {
        tokio::task::yield_now().await;
        while let Ok(sent) = stalls.try_recv() {
            assert_eq!(sent, window);
        }
    }
    let body = AnswerBody::http2(response.into_body(), place);
    let body = http_body_util::BodyExt::collect(body).await.unwrap();
    assert_eq!(body.to_bytes().len(), WHOLE_BYTES);
}
