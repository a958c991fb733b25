//! What it costs to split a stream of 500 events of about 120 bytes, and to watch over it, where each comes in a
//! chunk of its own, where all come at once, and where the network cuts each.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use inputs::EVENT;
use qcc::exchange::{Call, INSPECTED_BYTES_MAX, Splitter, StreamWatch};

mod inputs;

const EVENTS: usize = 500;

fn splitting(criterion: &mut Criterion) {
    let stream = EVENT.repeat(EVENTS);
    let mut group = criterion.benchmark_group("split");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let chunks =
        [("one event a chunk", EVENT.len()), ("chunks of 64 KiB", 64 * 1024), ("chunks of 100 bytes", 100)];
    for (name, chunk_bytes) in chunks {
        group.bench_function(format!("{name}, the splitter alone"), |bencher| {
            bencher.iter(|| {
                let (mut splitter, mut data_bytes) = (Splitter::new(INSPECTED_BYTES_MAX), 0);
                for chunk in black_box(&stream).chunks(chunk_bytes) {
                    splitter.push(chunk, |event| data_bytes += event.data.len());
                }
                data_bytes
            });
        });
        group.bench_function(format!("{name}, watched"), |bencher| {
            bencher.iter(|| {
                let mut watch = StreamWatch::new(Call::Messages);
                for chunk in black_box(&stream).chunks(chunk_bytes) {
                    black_box(watch.push(chunk));
                }
                watch.has_content()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, splitting);
criterion_main!(benches);
