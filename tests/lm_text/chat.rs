//! Chats: what templates make of messages is what transformers makes of them, and whatever a template does is a text or an error.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mixlet_runtime::models::text::{ChatTemplate, Message, Tokenizer, read_chats, read_prompts};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::small_tokenizers::{BytePairs, write};

fn folder(config: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "tokenizer.json", &BytePairs::json());
    write(folder.path(), "tokenizer_config.json", config);
    folder
}

/// 29 February 2024, 12:34:56.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_709_210_096)
}

fn render(template: &str, messages: &[Message]) -> Result<String, String> {
    let folder = folder(&json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}}));
    let tokenizer = Tokenizer::open(folder.path(), 512).unwrap();
    let template = ChatTemplate::new(template, "t.jinja".into()).map_err(|error| error.to_string())?;
    template.render(&tokenizer, messages, now()).map_err(|error| error.to_string())
}

fn chat() -> Vec<Message> {
    [
        ("system", "Be brief."),
        ("user", "Hi  "),
        ("assistant", "<think>\nhm</think>\n\nHello"),
        ("user", "Ünïcode <b>'\"&"),
    ]
    .map(|(role, content)| Message::new(role, content))
    .into()
}

/// Templates in the ways of well-known models. What they give, here and below, is what jinja2 3.1.6 makes of them when it is set up
/// as transformers does.
#[test]
fn templates_of_several_styles() {
    let chatml = "{% for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
";
    let turn = |role: &str, content: &str| format!("<|im_start|>{role}\n{content}<|im_end|>\n");
    let turns = [
        turn("system", "Be brief."),
        turn("user", "Hi"),
        turn("assistant", "<think>\nhm</think>\n\nHello"),
        turn("user", "Ünïcode <b>'\"&"),
    ];
    assert_eq!(render(chatml, &chat()).unwrap(), turns.concat() + "<|im_start|>assistant\n");

    let instruct = "{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0].content %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate') }}
    {%- endif %}
    {%- if message.role == 'user' %}
        {%- if loop.first and system is defined %}
            {{- '[INST] ' + system + '\\n\\n' + message.content.strip() + ' [/INST]' }}
        {%- else %}
            {{- '[INST] ' + message.content.strip() + ' [/INST]' }}
        {%- endif %}
    {%- else %}
        {{- ' ' + message.content.split('</think>')[-1].lstrip('\\n') + eos_token }}
    {%- endif %}
{%- endfor %}";
    let expected = "<s>[INST] Be brief.\n\nHi [/INST] Hello</s>[INST] Ünïcode <b>'\"& [/INST]";
    assert_eq!(render(instruct, &chat()).unwrap(), expected);
    let error = render(instruct, &[Message::new("assistant", "Hello")]).unwrap_err();
    assert_eq!(error, "t.jinja: line 10 of the chat template fails: Roles must alternate");
}

#[test]
fn what_templates_may_use() {
    let cases = [
        ("{{ strftime_now('%d %b %Y') }}", "29 Feb 2024"),
        (
            "{{ {'b': [1, 2.5, true, none], 'a': \"é<>&'\"} | tojson }}",
            r#"{"b": [1, 2.5, true, null], "a": "é<>&'"}"#,
        ),
        ("{{ {'a': [1], 'b': {}} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}"),
        ("{{ [] | tojson }}{{ 'x' | tojson }}", "[]\"x\""),
        (
            "{% for m in messages %}{% if loop.index == 2 %}{% continue %}{% endif %}{% if loop.last %}{% break %}{% endif %}{{ m.role }} {% endfor %}",
            "system assistant ",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages if m.role == 'user' %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "2",
        ),
        ("{% generation %}a{% endgeneration %}\nb{%- generation -%} c {%- endgeneration %}", "abc"),
        ("{{ messages[-1].content.startswith('Ü') }}{{ 'x' in messages[0].content }}", "TrueFalse"),
        ("{% macro m(x, y='!') %}{{ x ~ y }}{% endmacro %}{{ m('a') }}{{ m('b', y='?') }}", "a!b?"),
        (
            "{{ messages[0].get('name', 'nobody') }}{% for k, v in messages[0].items() %} {{ k }}{% endfor %}",
            "nobody role content",
        ),
        (
            "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('|') }}",
            "Hi  |Ünïcode <b>'\"&",
        ),
        (
            "{% if tools is none and documents is none and nothing is not defined %}yes{% endif %}{{ nothing }}",
            "yes",
        ),
        (
            "{{ messages[0].content.upper().replace('BE', 'Do')[:3] }}{{ messages[0].content is string }}",
            "Do True",
        ),
        ("  {% if true %}\n    x\n  {% endif %}\ny\n", "    x\ny"),
        ("{{ '%s-%d' % ('a', 3) if false else 'a'.title() }}", "A"),
    ];
    for (template, expected) in cases {
        assert_eq!(render(template, &chat()).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn wrong_templates_are_errors() {
    let fail =
        |line: usize, reason: &str| format!("t.jinja: line {line} of the chat template fails: {reason}");
    let cases = [
        ("\n{% if %}", 2, ""),
        ("{{ messages", 1, ""),
        ("{% generation %}a", 1, ""),
        ("{{ nothing.at.all }}", 1, ""),
        ("\n\n{{ none_such() }}", 3, ""),
        ("{{ 1 / 0 }}", 1, ""),
        ("{% include 'other' %}", 1, ""),
        ("{{ messages | tojson(colour=1) }}", 1, ""),
        ("{{ raise_exception('no \u{1b}[1m tools') }}", 1, "no \\u{1b}[1m tools"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            1,
            "it computes more than 2000000 steps",
        ),
        (
            "{% set ns = namespace(x='aaaa') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            1,
            "it computes more than",
        ),
        ("{{ 'a' * 999999999999 }}", 1, ""),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 1, ""),
    ];
    for (template, line, reason) in cases {
        let error = render(template, &chat()).unwrap_err();
        assert!(error.starts_with(&fail(line, reason)), "{template}: {error}");
        assert!(error.len() > fail(line, "").len(), "{template}: {error}");
    }
    let deep = format!("{{{{ (1{}", ")".repeat(5000));
    assert!(render(&deep, &chat()).is_err());
    assert!(render(&"{% if true %}".repeat(3000), &chat()).is_err());
    assert!(render(&format!("{{{{ {}1{} }}}}", "(".repeat(3000), ")".repeat(3000)), &chat()).is_err());
}

#[test]
fn the_template_is_where_transformers_keeps_it() {
    let open = |config: &Value, file: Option<&str>| {
        let folder = folder(config);
        file.iter().for_each(|text| fs::write(folder.path().join("chat_template.jinja"), text).unwrap());
        let tokenizer = Tokenizer::open(folder.path(), 512).unwrap();
        let text = ChatTemplate::open(folder.path()).and_then(|it| it.render(&tokenizer, &chat(), now()));
        text.map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "DIR"))
    };
    let named = |names: &[&str]| -> Value {
        let all: Vec<Value> = names.iter().map(|name| json!({"name": name, "template": name})).collect();
        json!({ "chat_template": all })
    };
    assert_eq!(open(&json!({"chat_template": "config"}), None).as_deref(), Ok("config"));
    assert_eq!(open(&json!({"chat_template": "config"}), Some("file")).as_deref(), Ok("file"));
    assert_eq!(open(&named(&["tool_use", "default"]), None).as_deref(), Ok("default"));
    assert_eq!(open(&named(&["rag"]), None).as_deref(), Ok("rag"));
    let expected = "DIR/tokenizer_config.json: chat templates `rag, tool_use`, expected one named `default`";
    assert_eq!(open(&named(&["rag", "tool_use"]), None).unwrap_err(), expected);
    let expected = "DIR: no chat template, expected chat_template.jinja, or chat_template in tokenizer_config.json; the model \
                    may know no chats: prompt it without --chat";
    assert_eq!(open(&json!({}), None).unwrap_err(), expected);
    let error = open(&json!({"chat_template": 3}), None).unwrap_err();
    assert!(error.contains("damaged file of a tokenizer (`chat_template is 3`)"), "{error}");
}

#[test]
fn chats_come_from_json_in_several_shapes() {
    let said = |text: &str| -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("chats"), text).unwrap();
        let chats = read_chats(&folder.path().join("chats"));
        let chats =
            chats.map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "DIR"))?;
        let template = "{% for m in messages %}{{ m.role }}:{{ m.content }} {% endfor %}";
        Ok(chats.iter().map(|(line, chat)| format!("{line} {}/", render(template, chat).unwrap())).collect())
    };
    let (user, model) = (r#"{"role": "user", "content": "a"}"#, r#"{"content": "b", "role": "assistant"}"#);
    let one = "user:a assistant:b /";
    assert_eq!(said(&format!("[{user}, {model}]")).unwrap(), format!("1 {one}"));
    assert_eq!(said(&format!("\n{user}\n{model}\n")).unwrap(), format!("2 {one}"));
    assert_eq!(
        said(&format!("{{\"messages\": [{user}, {model}], \"id\": 3}}\n\n[{user}]\n")).unwrap(),
        format!("1 {one}3 user:a /")
    );
    assert_eq!(said(&format!("[[{user}], [{user}, {model}]]")).unwrap(), format!("1 user:a /1 {one}"));
    let shape = "no chat, expected messages, objects with the texts `role` and `content`";
    for (text, line, reason) in [
        ("", 1, "there is no message, expected at least one"),
        ("[]", 1, "there is no message, expected at least one"),
        ("\n\n[{}]", 3, shape),
        ("\n{\"role\": 3}", 2, shape),
        ("\"x\"", 1, shape),
        (&format!("{user}\n[{user}]"), 1, "chats and messages of one are mixed, expected either"),
        (&format!("{user}\n{{"), 2, "EOF while parsing an object at column 1"),
        (&format!("{user}\n{{\"role\":\n3,}}"), 3, "trailing comma at column 3"),
    ] {
        assert_eq!(said(text).unwrap_err(), format!("DIR/chats:{line}: {reason}"), "{text}");
    }
    // Deeper than any chat.
    assert!(said(&"[".repeat(100_000)).unwrap_err().contains("recursion limit exceeded"));
}

#[test]
fn prompts_come_from_lines_or_objects() {
    let read = |text: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("prompts"), text).unwrap();
        let prompts = read_prompts(&folder.path().join("prompts"));
        prompts.map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "DIR"))
    };
    let prompts = |lines: &[(usize, &str)]| -> Vec<(usize, String)> {
        lines.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
    };
    let found = read(b"one\r\n\n two \n \t\nthree\n\n").unwrap();
    assert_eq!(found.prompts, prompts(&[(1, "one"), (3, " two "), (5, "three")]));
    assert_eq!(found.blank, 3);
    let found = read(b"\n{\"prompt\": \"a\\nb\", \"id\": 1}\n\n{\"prompt\": \"\"}").unwrap();
    assert_eq!((found.prompts, found.blank), (prompts(&[(2, "a\nb"), (4, "")]), 0));
    let absent = "the key `prompt` is not there, expected it with a text; the keys are";
    let cases: [(&[u8], &str); 7] = [
        (b" \n\n", "DIR/prompts:1: there is no prompt, expected one in each line"),
        (
            b"{\"prompt\": \"a\"}\n{\"text\": \"b\", \"id\": 3}",
            &format!("DIR/prompts:2: {absent} `id`, `text`"),
        ),
        (b"{}", &format!("DIR/prompts:1: {absent} none")),
        (b"{\"prompt\": 3}", "DIR/prompts:1: `prompt` is `3`, expected a text"),
        (b"{\"prompt\": \"a\"}\n7", "DIR/prompts:2: `7` is no object, expected one with a text `prompt`"),
        (b"{\"prompt\": \"a\"}\n\n{\"prompt\"", "DIR/prompts:3: EOF while parsing an object at column 9"),
        (b"a\nb\n\xff", "DIR/prompts:3: the line is no UTF-8, expected text"),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text).unwrap_err(), expected);
    }
}
