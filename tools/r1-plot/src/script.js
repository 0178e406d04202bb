'use strict';
// Hover: the nearest point of every curve in a panel. Without a script the panels stay as they are.
const svgNS = document.documentElement.querySelector('svg')?.namespaceURI;
for (const svg of document.querySelectorAll('svg.panel')) {
  const curves = [...svg.querySelectorAll('.curve')].map(path => ({
    name: path.dataset.n,
    places: path.getAttribute('d').slice(1).split('L').map(place => place.split(' ').map(Number)),
    values: path.dataset.p.split(',').map(value => value.split(' ')),
  }));
  if (!curves.length) continue;
  const figure = svg.parentElement;
  const made = (name, style) => {
    const element = document.createElementNS(svgNS, name);
    element.setAttribute('class', style);
    return svg.appendChild(element);
  };
  let cursor, dots, tip;
  const leave = () => {
    if (!tip) return;
    cursor.remove();
    dots.forEach(dot => dot.remove());
    tip.remove();
    tip = undefined;
  };
  const follow = event => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * 280 / box.width;
    if (!tip) {
      cursor = made('line', 'cursor');
      dots = curves.map(() => made('circle', 'here'));
      tip = figure.appendChild(document.createElement('div'));
      tip.className = 'tip';
    }
    const nearest = curves[0].places.reduce((best, place, at, all) =>
      Math.abs(place[0] - x) < Math.abs(all[best][0] - x) ? at : best, 0);
    const at = curves[0].places[nearest][0];
    for (const [key, value] of Object.entries({ x1: at, x2: at, y1: 8, y2: 104 })) cursor.setAttribute(key, value);
    const words = curves.map((curve, n) => {
      const own = curve.places.reduce((best, place, i, all) =>
        Math.abs(place[0] - at) < Math.abs(all[best][0] - at) ? i : best, 0);
      dots[n].setAttribute('cx', curve.places[own][0]);
      dots[n].setAttribute('cy', curve.places[own][1]);
      dots[n].setAttribute('r', 3.2);
      return (curves.length > 1 ? curve.name + ' ' : '') + curve.values[own][1];
    });
    tip.textContent = 'step ' + curves[0].values[nearest][0] + ': ' + words.join(', ');
    tip.style.left = Math.min(82, Math.max(22, at / 2.8)) + '%';
  };
  svg.addEventListener('pointermove', follow);
  svg.addEventListener('pointerdown', follow);
  svg.addEventListener('pointerleave', leave);
}
document.documentElement.dataset.hover = document.querySelectorAll('svg.panel').length;
