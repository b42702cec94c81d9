"use strict";
(() => {
  const table = document.getElementById("entries");
  if (!table) return; // only trainings
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const count = document.getElementById("count");
  const filter = document.getElementById("filter");

  // What is not known comes last, whichever way is sorted; a draw keeps the order of the report.
  const compare = (column, sign) => (a, b) => {
    const [x, y] = [a, b].map((row) => row.cells[column].dataset.value);
    if (x === "" || y === "") return (x === "") - (y === "");
    const [m, n] = [Number(x), Number(y)];
    const order = Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m === n ? 0 : m - n;
    return sign * order || rows.indexOf(a) - rows.indexOf(b);
  };

  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows.slice().sort(compare(column, down ? -1 : 1)));
    });
  });

  // Every word has to be somewhere in the row.
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rows.length}`;
  });

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
