//! Two models on the same text, and one on the routes of the other.

use serde_json::json;

use crate::folder::{Folder, ids, text};
use crate::texts::close;

#[test]
fn models_are_compared_on_the_same_windows() {
    for name in ["mixtral", "olmoe"] {
        let Some(folder) = Folder::new(name) else { return };
        let narrow = folder.quantize();
        let ids = ids(60, 8);
        folder.write("text.txt", &text(&ids));
        // From the folder of the narrow model, which has a tokenizer as the original has.
        std::fs::copy(folder.path().join("model/tokenizer.json"), folder.path().join("int8/tokenizer.json"))
            .unwrap();
        let run = crate::common::command::mixlet(
            folder.path(),
            "lm eval int8 text.txt --window 60 --against model --json",
        );
        let json = run.json();
        let [original, other] = [&folder.model, &narrow].map(|model| folder.logs(model, &[], &ids));
        let (mut sums, mut divergence, mut same) = ([0.0; 2], 0.0, 0);
        for (nth, (p, q)) in original.iter().zip(&other).take(59).enumerate() {
            let id = ids[nth + 1] as usize;
            sums = [sums[0] - p[id], sums[1] - q[id]];
            divergence += p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            let best = |row: &[f64]| row.iter().position(|log| row.iter().all(|other| other <= log));
            same += usize::from(best(p) == best(q));
        }
        let [original, other] = sums.map(|sum| (sum / 59.0).exp());
        let found = &json["comparison"];
        close(&json["perplexity"], other);
        close(&found["original_perplexity"], original);
        close(&found["change"], other / original - 1.0);
        close(&found["same_best"], same as f64 / 59.0);
        let nats = found["divergence"].as_f64().unwrap();
        assert!(
            (nats - divergence / 59.0).abs() < 1e-7 && nats > 0.0,
            "{name}: {nats}, {}",
            divergence / 59.0
        );
        assert_eq!(
            found["routing"]["choices"],
            json!(60 * folder.model.config.decoder.layers.len()),
            "{name}"
        );
    }
}

#[test]
fn a_narrow_model_is_evaluated_on_the_routes_of_its_original() {
    let Some(folder) = Folder::new("olmoe") else { return };
    folder.quantize();
    std::fs::copy(folder.path().join("model/tokenizer.json"), folder.path().join("int8/tokenizer.json"))
        .unwrap();
    folder.write("text.txt", &text(&ids(100, 5)));
    folder.eval("text.txt --window 30 --record routes.safetensors --json").json();
    let own = folder.eval("text.txt --window 30 --replay routes.safetensors --json").json();
    assert_eq!(own["replay"]["equal"], 1.0);
    let plain = folder.eval("text.txt --window 30 --json").json();
    assert_eq!(own["perplexity"], plain["perplexity"]);

    let narrow = |arguments: &str| {
        crate::common::command::mixlet(
            folder.path(),
            &format!("lm eval int8 text.txt --window 30 {arguments}"),
        )
    };
    let replayed = narrow("--replay routes.safetensors --json").json();
    let equal = replayed["replay"]["equal"].as_f64().unwrap();
    assert!((0.5..1.0).contains(&equal), "{equal}");
    assert_ne!(replayed["perplexity"], narrow("--json").json()["perplexity"]);
    let other = narrow("--window 40 --replay routes.safetensors");
    let other = (other.code, other.err);
    assert_eq!(other.0, 2, "an option twice: {}", other.1);
}
