//! Every file of every corpus, through its target.

use std::path::Path;

#[test]
fn every_corpus_passes_its_target() {
    for (name, run) in qcc_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 12, "{name}: a corpus of {} files", files.len());
        for file in files {
            println!("{}", file.display());
            run(&std::fs::read(&file).unwrap());
        }
    }
}
