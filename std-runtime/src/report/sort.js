// Sorts a table by the column whose heading is pressed. Optional: the page is complete without it.
"use strict";
document.querySelectorAll("table").forEach(function (table) {
  var body = table.tBodies[0];
  if (!body || body.querySelector("[colspan]")) return;
  table.querySelectorAll("thead th").forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    while (head.firstChild) button.appendChild(head.firstChild);
    head.appendChild(button);
    var direction = -1;
    button.addEventListener("click", function () {
      direction = -direction;
      var key = function (row) {
        var text = row.cells[column].textContent.trim();
        var number = parseFloat(text.replace(/,/g, "").replace("\u2212", "-"));
        return { text: text, number: number, isNumber: !isNaN(number) };
      };
      var rows = Array.from(body.rows).map(function (row) { return { row: row, key: key(row) }; });
      rows.sort(function (a, b) {
        if (a.key.isNumber !== b.key.isNumber) return a.key.isNumber ? -1 : 1;
        var order = a.key.isNumber ? a.key.number - b.key.number : a.key.text.localeCompare(b.key.text);
        return direction * order;
      });
      rows.forEach(function (entry) { body.appendChild(entry.row); });
      table.querySelectorAll("th[aria-sort]").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    });
  });
});
