(() => {
  "use strict";
  const root = document.documentElement;
  const themes = JSON.parse(document.getElementById("scales").textContent);
  const system = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)").matches;
  const plots = [...document.querySelectorAll(".plot")];
  const figures = new Map(plots.map((p) => [p, JSON.parse(document.getElementById(`data-${p.dataset.figure}`).textContent)]));
  const button = document.getElementById("theme");
  let printing = false;
  root.classList.add("scripted");

  const isDark = () => !printing && (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const fade = (hex, opacity) => `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(",")},${opacity})`;

  // The figures come in the light theme; the colours that a theme changes are put in here.
  function coloured(figure, plot) {
    const t = themes[isDark() ? "dark" : "light"];
    const data = figure.data.map((trace) => {
      const meta = trace.meta || {};
      const copy = { ...trace };
      if (meta.colour !== undefined && meta.colour !== null) {
        const colour = meta.colour === "muted" ? t.muted : t.series[meta.colour];
        copy.line = { ...trace.line, color: colour };
        copy.marker = { ...trace.marker, color: colour };
        copy.textfont = { ...trace.textfont, color: colour };
        if (meta.fill) copy.fillcolor = fade(colour, meta.fill);
      }
      if (meta.scale) {
        copy.colorscale = t[meta.scale];
        const bar = trace.colorbar || {};
        copy.colorbar = { ...bar, tickfont: { ...bar.tickfont, color: t.muted }, title: { ...bar.title, font: { ...(bar.title || {}).font, color: t.muted } } };
      }
      return copy;
    });
    const layout = { ...figure.layout, font: { ...figure.layout.font, color: t.ink } };
    for (const key of Object.keys(layout).filter((k) => /^[xy]axis\d*$/.test(k))) {
      const axis = figure.layout[key];
      layout[key] = { ...axis, gridcolor: t.grid, linecolor: t.grid, tickfont: { ...axis.tickfont, color: t.muted }, title: { ...axis.title, font: { ...(axis.title || {}).font, color: t.ink } } };
    }
    layout.hoverlabel = { ...figure.layout.hoverlabel, bgcolor: t.surface, bordercolor: t.muted, font: { ...(figure.layout.hoverlabel || {}).font, color: t.ink } };
    if (layout.hovermode === "x unified") {
      layout.xaxis = { ...layout.xaxis, unifiedhovertitle: { text: `${(figure.layout.xaxis.title || {}).text || "checkpoint"} %{x}` }, spikecolor: t.muted, spikethickness: 1, spikedash: "dot" };
    }
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: t.muted, activecolor: t.ink };
    // A finger that scrolls the page must not draw a zoom box.
    layout.dragmode = coarse ? false : "zoom";
    if (printing) layout.width = plot.clientWidth;
    return { data, layout };
  }

  // The buttons are named one by one: plotly's own set has one that sends the figure to a server.
  const settings = (plot) => ({
    responsive: true,
    displaylogo: false,
    displayModeBar: coarse ? false : "hover",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    showSendToCloud: false,
    plotlyServerURL: "",
    toImageButtonOptions: { filename: plot.dataset.figure, scale: 3 },
  });
  const visible = (plot) => plot.offsetParent !== null && !plot.closest("details:not([open])");

  function draw(plot) {
    const { data, layout } = coloured(figures.get(plot), plot);
    plot.dataset.drawn = "yes";
    return Plotly.react(plot, data, layout, settings(plot));
  }

  const redraw = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    plots.filter((p) => p.dataset.drawn).forEach(draw);
  };

  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    redraw();
  });
  system.addEventListener("change", redraw);

  // A figure in a folded part is drawn when that is opened.
  document.addEventListener("toggle", (event) => {
    if (event.target.open) plots.filter((p) => event.target.contains(p) && visible(p) && !p.dataset.drawn).forEach(draw);
    // What is unfolded makes its section wider.
    const section = event.target.closest("section");
    plots.filter((p) => section && section.contains(p) && p.dataset.drawn && visible(p)).forEach((p) => Plotly.Plots.resize(p));
  }, true);

  // On paper: light, as wide as the paper, and folded parts open where they are short.
  let opened = [];
  function beforePrint() {
    if (printing) return;
    printing = true;
    root.classList.add("printing");
    opened = [...document.querySelectorAll('details[data-print="open"]:not([open])')];
    opened.forEach((d) => { d.open = true; });
    plots.filter(visible).forEach(draw);
  }
  function afterPrint() {
    if (!printing) return;
    printing = false;
    root.classList.remove("printing");
    opened.forEach((d) => { d.open = false; });
    // Drawing alone would keep the paper's width.
    plots.filter(visible).forEach((plot) => draw(plot).then(() => Plotly.Plots.resize(plot)));
  }
  addEventListener("beforeprint", beforePrint);
  addEventListener("afterprint", afterPrint);

  // One figure per frame, so that a page with many stays responsive while it loads.
  (async () => {
    button.textContent = isDark() ? "Light" : "Dark";
    for (const plot of plots.filter(visible)) {
      await draw(plot);
      await new Promise((next) => setTimeout(next, 0));
    }
    root.dataset.ready = "true";
  })();
})();
