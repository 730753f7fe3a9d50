"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");
  const data = JSON.parse(document.getElementById("data").textContent);

  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const named = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; named(); });
  system.addEventListener("change", named);
  named();

  const SVG = "http://www.w3.org/2000/svg";
  const make = (tag, kind, text) => {
    const element = document.createElement(tag);
    element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const percent = (share) => {
    if (share > 0 && share < 0.0005) return "< 0.1\u00a0%";
    return `${(100 * share).toFixed(1)}\u00a0%`;
  };

  for (const box of document.querySelectorAll(".layers")) {
    const layers = data.images[Number(box.dataset.image)];
    const find = (selector) => box.querySelector(selector);
    const slider = find("input"), dots = find(".dots"), list = find(".channels"), nowhere = find(".nowhere");
    find(".explorer").classList.toggle("strip", data.strip);
    let chosen = null;

    const draw = (layer) => {
      const places = new Map();
      layer.channel.forEach((channel, row) => {
        if (chosen !== null && channel !== chosen) return;
        const key = layer.y[row] * layer.columns + layer.x[row];
        places.set(key, (places.get(key) || 0) + layer.score[row]);
      });
      const sorted = [...places].sort((a, b) => b[1] - a[1]);
      const circles = layer.placed ? sorted.map(([key, score]) => {
        const circle = document.createElementNS(SVG, "circle");
        const x = key % layer.columns, y = Math.floor(key / layer.columns);
        circle.setAttribute("cx", ((x + 0.5) / layer.columns) * data.width);
        circle.setAttribute("cy", ((y + 0.5) / layer.rows) * data.height);
        // The same scale with and without a chosen channel: a channel's dots are a part of all dots.
        circle.setAttribute("r", Math.max(layer.radius * Math.sqrt(score / layer.largest), layer.least));
        return circle;
      }) : [];
      dots.replaceChildren(...circles);
    };

    const show = () => {
      const at = Number(slider.value), layer = layers[at];
      chosen = null;
      slider.setAttribute("aria-valuetext", `${at + 1} of ${layers.length}: ${layer.name}`);
      for (const step of box.querySelectorAll(".step")) {
        step.disabled = at + Number(step.dataset.by) < 0 || at + Number(step.dataset.by) >= layers.length;
      }
      find(".name").textContent = `${at + 1} of ${layers.length}: ${layer.name}`;
      find(".facts").textContent = layer.facts;
      find(".listed").textContent = layer.listed;
      find(".more").textContent = layer.more;
      nowhere.hidden = layer.placed && layer.channel.length > 0;
      nowhere.textContent = layer.nowhere;
      find(".key").hidden = !nowhere.hidden;
      find(".key span").textContent = layer.key;
      const most = layer.strongest.length ? layer.strongest[0].score : 1;
      list.replaceChildren(...layer.strongest.map((entry) => {
        const item = make("li", ""), row = make("button", "");
        const track = make("span", "track"), fill = make("i", "");
        fill.style.width = `${(100 * entry.score) / most}%`;
        track.append(fill);
        row.type = "button";
        row.append(make("span", "what", entry.name), track, make("span", "share", percent(entry.score)));
        if (layer.placed) {
          row.setAttribute("aria-pressed", "false");
          row.title = "Show only the neurons of this channel";
          row.addEventListener("click", () => {
            chosen = chosen === entry.channel ? null : entry.channel;
            for (const other of list.querySelectorAll("button")) {
              other.setAttribute("aria-pressed", String(other === row && chosen !== null));
            }
            draw(layer);
          });
        } else row.disabled = true;
        item.append(row);
        return item;
      }));
      draw(layer);
    };

    slider.addEventListener("input", show);
    for (const step of box.querySelectorAll(".step")) {
      step.addEventListener("click", () => { slider.value = String(Number(slider.value) + Number(step.dataset.by)); show(); });
    }
    // Browsers may remember where a slider stood.
    slider.value = "0";
    show();
  }
  root.dataset.ready = "true";
})();
