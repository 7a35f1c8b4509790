(() => {
  const box = document.getElementById("slider");
  if (!box) return;
  const z = JSON.parse(document.getElementById("slider-data").textContent);
  const input = box.querySelector("input"), said = box.querySelector("output");
  const rows = [...box.querySelectorAll("tr[data-class]")];
  const draw = () => {
    const t = 2 ** Number(input.value), top = Math.max(...z);
    const e = z.map((v) => Math.exp((v - top) / t)), sum = e.reduce((a, b) => a + b, 0);
    const h = e.map((v) => v / sum).reduce((a, p) => (p ? a - p * Math.log(p) : a), 0);
    const text = `T = ${+t.toFixed(2)}: ${h.toFixed(2)} nats`;
    said.textContent = text;
    input.setAttribute("aria-valuetext", text);
    for (const row of rows) {
      const p = (100 * e[row.dataset.class]) / sum;
      row.querySelector(".bar").style.width = `${p}%`;
      row.querySelector(".number").textContent = `${p.toFixed(1)}%`;
    }
  };
  input.addEventListener("input", draw);
  box.querySelector(".control").hidden = false;
  draw();
})();
