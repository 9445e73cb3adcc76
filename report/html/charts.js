// Makes each static chart interactive. ast: expressions are interpreted, not compiled, so the page's policy needs no 'unsafe-eval'.
for (const figure of document.querySelectorAll("figure.chart")) {
  const specs = JSON.parse(figure.querySelector("script").textContent);
  const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  figure.querySelectorAll(".plot").forEach((plot, index) => vegaEmbed(plot, specs[index],
    {renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: {theme}}));
}
