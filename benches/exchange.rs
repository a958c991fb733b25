//! What one exchange costs in the program, from the first byte of a request of 2 KB, as Claude Code sends it, to the
//! last of its answer: the whole proxy on one thread, between a client on a connection that it keeps and upstreams in
//! memory. Client and upstream are part of each figure; so are they of the copy of bytes that stands beside.
//!
//! Where the first endpoint refuses the key it is put back in service before each exchange, outside of the measure;
//! the connections stay.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rig::{Answer, Client, reset, runtime};

mod inputs;
mod rig;

fn exchanging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange");
    for (name, answer) in [("1 KB of JSON", Answer::whole()), ("a stream of 50 events", Answer::stream())] {
        let mut client = Client::of_byte_copy(runtime(), &answer);
        group.bench_function(format!("{name}, bytes copied"), |bencher| bencher.iter(|| client.exchange()));
        let (mut client, _) = Client::of_proxy(runtime(), vec![answer]);
        group.bench_function(name, |bencher| bencher.iter(|| client.exchange()));
    }
    let (mut client, cluster) = Client::of_proxy(runtime(), vec![Answer::refusal(), Answer::whole()]);
    group.bench_function("the first endpoint refuses the key, the second serves", |bencher| {
        bencher.iter_batched(|| reset(&cluster), |()| client.exchange(), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, exchanging);
criterion_main!(benches);
