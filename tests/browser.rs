//! The pages in a real browser: headless Chromium lays them out and says what it sees.
//!
//! Skips where there is no Chromium (`MIXLET_CHROMIUM` names another than `/usr/bin/chromium`), and fails instead
//! when `MIXLET_REQUIRE` names `browser`. Each page is shown in a frame of the wanted width, because a browser
//! window cannot be as narrow as a phone; a script beside the frame measures it and writes what it found.

#[path = "common/sample_mixture.rs"]
mod sample_mixture;
#[path = "common/sample_report.rs"]
mod sample_report;

use std::path::{Path, PathBuf};
use std::process::Command;

use mixlet_runtime::crowd::report::{CrowdReport, render};
use mixlet_runtime::mixture::report::{self as mixture_report, MixtureReport};
use sample_mixture::MixtureSample;
use sample_report::{HOSTILE, Sample};
use serde_json::Value;

/// Colours follow what the reader prefers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Theme {
    Light,
    Dark,
}

/// Measures the frame when everything is laid out.
const PROBE: &str = r#"<pre id="seen"></pre><script>
addEventListener("load", function () {
  var frame = document.querySelector("iframe"), page = frame.contentWindow, doc = page.document;
  var shown = function (node) { return node.getBoundingClientRect().width > 0; };
  var channels = function (color) { return color.match(/[\d.]+/g).slice(0, 3).map(Number); };
  var colour = function (selector, property) {
    var node = doc.querySelector(selector);
    return node ? channels(page.getComputedStyle(node)[property]) : null;
  };
  var pictures = Array.from(doc.querySelectorAll("svg.picture")).filter(shown);
  var wide = Array.from(doc.querySelectorAll("body *")).filter(function (node) {
    if (node.closest(".scroll") || node.closest("svg") || node.closest("caption")) return false;
    return node.getBoundingClientRect().right > page.innerWidth + 1;
  });
  var outside = pictures.filter(function (svg) {
    var box = svg.getBoundingClientRect();
    return Array.from(svg.querySelectorAll("text, rect")).some(function (mark) {
      var at = mark.getBoundingClientRect();
      return at.left + 3 < box.left || at.right - 3 > box.right || at.top + 3 < box.top || at.bottom - 3 > box.bottom;
    });
  });
  var button = doc.querySelector("th button");
  if (button) { button.click(); button.click(); }
  document.getElementById("seen").textContent = JSON.stringify({
    width: page.innerWidth,
    scroll_width: doc.documentElement.scrollWidth,
    pictures: pictures.map(function (svg) { return svg.getAttribute("aria-labelledby").split(" ")[0]; }),
    outside: outside.map(function (svg) { return svg.getAttribute("aria-labelledby").split(" ")[0]; }),
    wide: wide.map(function (node) { return node.outerHTML.slice(0, 80); }),
    smallest_text: Math.min.apply(null, pictures.map(function (svg) {
      return 12.5 * 4 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    })),
    sorted: button ? button.closest("table").querySelector("tbody th").textContent : null,
    names: page.name_was_run === undefined,
    page: [colour("body", "color"), colour("body", "backgroundColor")],
    card: [colour(".card p", "color"), colour(".card", "backgroundColor")],
    axis: [colour("svg.picture text", "fill"), colour(".card", "backgroundColor")],
    accent: [colour(".kind", "color"), colour("body", "backgroundColor")]
  });
});
</script>"#;

/// The browser, or the reason to skip.
fn chromium() -> Option<PathBuf> {
    let path =
        std::env::var_os("MIXLET_CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    let required =
        std::env::var("MIXLET_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name == "browser"));
    assert!(!required, "no browser at {}, and MIXLET_REQUIRE asks for one", path.display());
    eprintln!("skipped: no browser at {}", path.display());
    None
}

/// Opens a file; gives what the browser prints.
fn browse(browser: &Path, file: &Path, theme: Theme, size: (u32, u32), action: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let scheme = if theme == Theme::Dark { 0 } else { 1 };
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--hide-scrollbars", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("--window-size={},{}", size.0, size.1))
        .arg(action)
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "the browser failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the browser sees of a report at a width.
fn look(browser: &Path, report: &CrowdReport<'_>, theme: Theme, width: u32) -> Value {
    look_at(browser, &render(report).unwrap(), theme, width)
}

/// What the browser sees of a page at a width.
fn look_at(browser: &Path, html: &str, theme: Theme, width: u32) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("frame.html");
    let source = html.replace('&', "&amp;").replace('"', "&quot;");
    let frame =
        format!("<iframe width=\"{width}\" height=\"900\" style=\"border:0\" srcdoc=\"{source}\"></iframe>");
    std::fs::write(&file, format!("<!DOCTYPE html><meta charset=\"utf-8\"><body>{frame}{PROBE}</body>"))
        .unwrap();
    let dom = browse(browser, &file, theme, (1400, 1000), "--dump-dom");
    let seen = dom.split("<pre id=\"seen\">").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap();
    let seen = seen.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&seen).unwrap_or_else(|error| panic!("{error}: '{seen}'"))
}

/// Contrast of two colours as WCAG 2 defines it.
fn contrast(pair: &Value) -> f64 {
    let luminance = |colour: &Value| {
        let channel = |i: usize| {
            let c = colour[i].as_f64().unwrap() / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(1) + 0.0722 * channel(2)
    };
    let (a, b) = (luminance(&pair[0]), luminance(&pair[1]));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// Nothing is too wide, too small or outside its picture, and all text can be read.
fn assert_good(seen: &Value, what: &str) {
    let none = Value::Array(Vec::new());
    assert!(
        seen["scroll_width"].as_u64() <= seen["width"].as_u64(),
        "{what}: the page scrolls sideways: {seen}"
    );
    assert_eq!(seen["wide"], none, "{what}: too wide");
    assert_eq!(seen["outside"], none, "{what}: marks outside their pictures");
    assert_eq!(seen["names"], true, "{what}: a name was run");
    if !seen["smallest_text"].is_null() {
        assert!(seen["smallest_text"].as_f64().unwrap() > 8.0, "{what}: text too small: {seen}");
    }
    for pair in ["page", "card", "axis", "accent"] {
        if !seen[pair][0].is_null() {
            assert!(contrast(&seen[pair]) >= 4.5, "{what}: {pair} is hard to read: {}", seen[pair]);
        }
    }
}

#[test]
fn pages_lay_out_on_desk_and_phone_in_light_and_dark() {
    let Some(browser) = chromium() else { return };
    let sample = Sample::new(39, 2);
    for (theme, width) in [(Theme::Light, 1280), (Theme::Light, 400), (Theme::Dark, 1280), (Theme::Dark, 400)]
    {
        let seen = look(&browser, &sample.report(), theme, width);
        let what = format!("{theme:?} at {width}");
        assert_eq!(seen["width"], width, "{what}");
        assert_good(&seen, &what);
        let shown = seen["pictures"].as_array().unwrap();
        for picture in [
            "order",
            "accuracy",
            "confusion-0",
            "confusion-38",
            "shares",
            "confidence",
            "gold-map",
            "objective",
        ] {
            let found = shown
                .iter()
                .filter(|id| id.as_str().is_some_and(|id| id.starts_with(&format!("{picture}-"))));
            assert_eq!(found.count(), 1, "{what}: {picture} among {shown:?}");
        }
        assert_eq!(seen["sorted"], "39", "{what}: two presses on the rank put the last worker first");
        let is_dark = seen["page"][1][0].as_u64() < Some(100);
        assert_eq!(is_dark, theme == Theme::Dark, "{what}: the ground is {}", seen["page"][1]);
    }
}

#[test]
fn odd_pages_lay_out_on_a_phone() {
    let Some(browser) = chromium() else { return };
    let (hostile, many, one) = (Sample::new(12, 9).hostile(), Sample::new(5_000, 30), Sample::new(1, 1));
    assert_good(&look(&browser, &hostile.report(), Theme::Light, 400), "hostile names");
    assert_good(&look(&browser, &many.report(), Theme::Dark, 400), "thousands of workers");
    assert_good(&look(&browser, &one.report(), Theme::Light, 400), "one worker");
    assert_good(&look(&browser, &one.comparison(), Theme::Dark, 400), "a comparison");
    assert_good(&look(&browser, &CrowdReport::default(), Theme::Light, 400), "an empty report");
}

#[test]
fn mixtures_lay_out_on_desk_and_phone_in_light_and_dark() {
    let Some(browser) = chromium() else { return };
    let html = |report: &MixtureReport<'_>| mixture_report::render(report).unwrap();
    let (survey, pictures) = (MixtureSample::new(20, 5), MixtureSample::new(196, 6));
    let cases = [(Theme::Light, 1280), (Theme::Light, 400), (Theme::Dark, 1280), (Theme::Dark, 400)];
    for (sample, shown) in
        [(&survey, &["values"][..]), (&pictures, &["prototype-0", "prototype-5", "information-map"])]
    {
        for (theme, width) in cases {
            let seen = look_at(&browser, &html(&sample.report()), theme, width);
            let what = format!("{theme:?} at {width}");
            assert_good(&seen, &what);
            let found = seen["pictures"].as_array().unwrap();
            for picture in
                shown.iter().chain(&["class-shares", "information", "criteria", "truth-map", "active"])
            {
                let is_it =
                    |id: &&Value| id.as_str().is_some_and(|id| id.starts_with(&format!("{picture}-")));
                assert!(found.iter().any(|id| is_it(&id)), "{what}: {picture} among {found:?}");
            }
            assert_eq!(seen["page"][1][0].as_u64() < Some(100), theme == Theme::Dark, "{what}");
        }
    }
    let hostile = MixtureSample::new(12, 9).hostile(&HOSTILE);
    assert_good(&look_at(&browser, &html(&hostile.report()), Theme::Light, 400), "hostile names");
    let many = MixtureSample::new(2_000, 40);
    assert_good(&look_at(&browser, &html(&many.report()), Theme::Dark, 400), "many columns and classes");
}

#[test]
fn screenshots_show_something_different_in_each_theme() {
    let Some(browser) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    std::fs::write(&file, render(&Sample::new(39, 4).report()).unwrap()).unwrap();
    let shots = [Theme::Light, Theme::Dark].map(|theme| {
        let png = folder.path().join(format!("{theme:?}.png"));
        browse(&browser, &file, theme, (1280, 2000), &format!("--screenshot={}", png.display()));
        std::fs::read(png).unwrap()
    });
    for png in &shots {
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "not a picture");
        assert!(png.len() > 60_000, "an empty picture: {} bytes", png.len());
    }
    assert_ne!(shots[0], shots[1]);
}
