// The values under the pointer, in a chart's legend. Without this it shows the last ones.
for (const chart of document.querySelectorAll(".chart")) {
  const svg = chart.querySelector("svg");
  const cursor = svg.querySelector(".cursor");
  const [low, high] = [+svg.dataset.low, +svg.dataset.high];
  // Back from the picture's units, as html.rs made them.
  const value = (down) => {
    const part = 1 - down / 1000;
    return "log" in svg.dataset ? low * (high / low) ** part : low + (high - low) * part;
  };
  const curves = [...svg.querySelectorAll(".line")].map((line) =>
    line.getAttribute("d").match(/[\d.]+ [\d.]+/g).map((point) => point.split(" ").map(Number)));
  const outputs = [...chart.querySelectorAll(".legend b")];
  const last = outputs.map((output) => output.textContent);
  const round = (number) => number.toLocaleString("en", { maximumSignificantDigits: 3 });

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const nearest = curves.map((points) =>
      points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a)));
    const step = nearest[0][0];
    cursor.setAttribute("d", `M${step} 0V1000`);
    outputs[0].textContent = step.toLocaleString("en");
    nearest.forEach(([at, down], i) => {
      const where = at === step ? "" : ` (step ${at.toLocaleString("en")})`;
      outputs[i + 1].textContent = round(value(down)) + where;
    });
  });
  svg.addEventListener("pointerleave", () => {
    cursor.removeAttribute("d");
    outputs.forEach((output, i) => (output.textContent = last[i]));
  });
}
