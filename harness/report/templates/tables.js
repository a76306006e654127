"use strict";
// Tables that sort and filter. Without this script every table stands as it is, whole.
(() => {
  const SCALE = { ns: 1e-9, "µs": 1e-6, ms: 1e-3, s: 1, B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, "%": 0.01 };
  const NUMBER = /^([+\u2212-]?)(\d+(?:\.\d+)?)\s*(ns|µs|ms|s|B|KiB|MiB|GiB|%)?(?![\p{L}\d.])/u;
  const words = document.body.dataset;
  const make = (tag, set) => Object.assign(document.createElement(tag), set);

  // "18.2 ms (17.9 to 19.4 ms)" is 0.0182; text that does not begin with a number is null.
  const number = (text) => {
    const found = NUMBER.exec(text);
    if (!found) return null;
    return (found[1] === "" || found[1] === "+" ? 1 : -1) * Number(found[2]) * (SCALE[found[3]] ?? 1);
  };

  const compare = (column, rows) => {
    const text = (row) => row.cells[column].textContent.trim();
    const keys = new Map(rows.map((row) => [row, number(text(row))]));
    const there = rows.filter((row) => !/^(\u2013|none\b.*)?$/.test(text(row)));
    const numeric = there.filter((row) => keys.get(row) !== null).length * 2 > there.length;
    return (a, b, sign) => {
      if (!numeric) return sign * text(a).localeCompare(text(b), document.documentElement.lang, { numeric: true });
      const [x, y] = [keys.get(a), keys.get(b)];
      if (x === null || y === null) return (x === null) - (y === null); // what has no value stays last
      return sign * (x - y);
    };
  };

  const sortable = (table) => {
    const body = table.tBodies[0];
    const given = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", title: words.sort });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: null }[head.ariaSort];
        const order = next === undefined ? "ascending" : next;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        const rows = [...given];
        if (order) {
          head.ariaSort = order;
          const by = compare(column, given);
          rows.sort((a, b) => by(a, b, order === "ascending" ? 1 : -1));
        }
        body.append(...rows);
      });
    });
  };

  const filterable = (table) => {
    const rows = [...table.tBodies[0].rows];
    const input = make("input", { type: "search", autocomplete: "off", placeholder: words.filter });
    input.ariaLabel = `${words.filter}: ${table.caption.textContent}`;
    const told = make("output", {});
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
      rows.forEach((row, n) => { row.hidden = !wanted.every((word) => texts[n].includes(word)); });
      const left = rows.filter((row) => !row.hidden).length;
      told.textContent = wanted.length ? `${left} / ${rows.length}` : "";
    });
    const tools = make("div", { className: "tools" });
    tools.append(input, told);
    table.parentElement.before(tools);
  };

  for (const table of document.querySelectorAll("table")) {
    const rows = table.tBodies[0].rows.length;
    if (rows > 1 && !("unranked" in table.dataset)) sortable(table); // its rows count unlike things
    if (rows > 4) filterable(table);
  }
})();
