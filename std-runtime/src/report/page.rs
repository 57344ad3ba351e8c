//! The page around the pictures: shell and style sheet, sections, cards, tiles, tables.
//!
//! Everything a page needs is inside it. The script only makes tables sortable: without it nothing is missing.

use super::html;

/// One key figure, shown as a tile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figure {
    /// What it is.
    pub label: String,
    /// The number, as it is to be read.
    pub value: String,
    /// What it is out of, or how it came about; may be empty.
    pub note: String,
}

/// A page: what stands at its top, and its sections.
#[derive(Clone, Debug, Default)]
pub struct Page<'a> {
    /// What kind of report it is.
    pub kind: &'a str,
    /// What it is about.
    pub title: &'a str,
    /// The outcome in one sentence.
    pub verdict: &'a str,
    /// What the reader must know before believing the rest.
    pub warnings: &'a [String],
    /// Key figures.
    pub figures: &'a [Figure],
    /// The parts below the fold, in order.
    pub sections: Vec<Section<'a>>,
    /// How to make the page again.
    pub command: &'a str,
}

/// A part of the page.
#[derive(Clone, Debug, Default)]
pub struct Section<'a> {
    /// Unique on the page; letters, digits and hyphens.
    pub id: &'a str,
    /// The heading.
    pub title: &'a str,
    /// One or two sentences that say how to read it (plain text).
    pub lead: String,
    /// Cards and tables (markup).
    pub body: String,
}

impl Page<'_> {
    /// The whole file.
    pub fn render(&self) -> String {
        let title = html::escape(&html::shorten(self.title, 120));
        let sections: String = self.sections.iter().map(section).collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n\
             <meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <meta name=\"color-scheme\" content=\"light dark\"/>\n<meta name=\"generator\" content=\"mixlet\"/>\n\
             <title>{title} – {kind}</title>\n<style>\n{style}</style>\n</head>\n<body>\n\
             <header>\n<p class=\"kind\">{kind}</p>\n<h1>{heading}</h1>\n<p class=\"verdict\">{verdict}</p>\n\
             {warnings}{tiles}{contents}</header>\n<main>\n{sections}</main>\n{footer}\
             <script>\n{script}</script>\n</body>\n</html>\n",
            kind = html::escape(self.kind),
            style = include_str!("style.css"),
            heading = html::name(self.title, 120),
            verdict = html::escape(self.verdict),
            warnings = warnings(self.warnings),
            tiles = tiles(self.figures),
            contents = contents(&self.sections),
            footer = footer(self.command),
            script = include_str!("sort.js"),
        )
    }
}

/// A card: a title, a sentence of reading help (plain text) and a picture or table (markup).
pub fn card(title: &str, help: &str, body: &str) -> String {
    format!(
        "<figure class=\"card\"><figcaption><h3>{}</h3><p>{}</p></figcaption>\n{body}</figure>\n",
        html::escape(title),
        html::escape(help)
    )
}

/// Cards side by side where there is room.
pub fn columns(cards: &[String]) -> String {
    format!("<div class=\"columns\">\n{}</div>\n", cards.concat())
}

/// One row of a [`table`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// Markup, one per column; the first names the row.
    Cells(Vec<String>),
    /// Says what is left out here (plain text).
    Gap(String),
}

/// A table that scrolls inside its card. `heads` are plain text; one that starts with `#` stands over numbers.
pub fn table(caption: &str, heads: &[&str], rows: &[Row]) -> String {
    let class = |i: usize| match heads.get(i) {
        Some(head) if head.starts_with('#') => " class=\"number\"",
        _ => "",
    };
    let head = |(i, head): (usize, &&str)| {
        format!("<th scope=\"col\"{}>{}</th>", class(i), html::escape(head.trim_start_matches('#')))
    };
    let cell = |(i, cell): (usize, &String)| match i {
        0 => format!("<th scope=\"row\"{}>{cell}</th>", class(i)),
        _ => format!("<td{}>{cell}</td>", class(i)),
    };
    let row = |row: &Row| match row {
        Row::Cells(cells) => format!("<tr>{}</tr>\n", cells.iter().enumerate().map(cell).collect::<String>()),
        Row::Gap(text) => {
            format!("<tr class=\"gap\"><td colspan=\"{}\">{}</td></tr>\n", heads.len(), html::escape(text))
        }
    };
    format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table>\
         <caption>{caption}</caption><thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody></table></div>\n",
        heads.iter().enumerate().map(head).collect::<String>(),
        rows.iter().map(row).collect::<String>(),
        caption = html::escape(caption),
    )
}

/// A section with its heading.
fn section(section: &Section<'_>) -> String {
    format!(
        "<section id=\"{id}\" aria-labelledby=\"{id}-h\">\n<h2 id=\"{id}-h\">{}</h2>\n<p class=\"lead\">{}</p>\n{}</section>\n",
        html::escape(section.title),
        html::escape(&section.lead),
        section.body,
        id = section.id,
    )
}

/// Warnings, above everything else.
fn warnings(warnings: &[String]) -> String {
    if warnings.is_empty() {
        return String::new();
    }
    let items: String =
        warnings.iter().map(|text| format!("<li>{}</li>", html::escape(&html::shorten(text, 600)))).collect();
    format!("<div class=\"warnings\" role=\"note\" aria-label=\"Warnings\"><ul>{items}</ul></div>\n")
}

/// Key figures.
fn tiles(figures: &[Figure]) -> String {
    let tile = |figure: &Figure| {
        format!(
            "<div class=\"tile\"><dt>{}</dt><dd><span class=\"value\">{}</span><span class=\"note\">{}</span></dd></div>\n",
            html::name(&figure.label, 40),
            html::name(&figure.value, 24),
            html::name(&figure.note, 60)
        )
    };
    if figures.is_empty() {
        return String::new();
    }
    // One row, or two of nearly the same length.
    let columns = if figures.len() <= 6 { figures.len() } else { figures.len().div_ceil(2).min(6) };
    let tiles: String = figures.iter().map(tile).collect();
    format!("<dl class=\"tiles\" style=\"--columns:{columns}\">\n{tiles}</dl>\n")
}

/// Links to the sections, if there is more than one.
fn contents(sections: &[Section<'_>]) -> String {
    if sections.len() < 2 {
        return String::new();
    }
    let link =
        |section: &Section<'_>| format!("<a href=\"#{}\">{}</a>\n", section.id, html::escape(section.title));
    format!("<nav aria-label=\"Contents\">\n{}</nav>\n", sections.iter().map(link).collect::<String>())
}

/// How to make the page again.
fn footer(command: &str) -> String {
    if command.is_empty() {
        return String::new();
    }
    format!("<footer>\n<p>Made by</p>\n<pre><code>{}</code></pre>\n</footer>\n", html::escape(command))
}
