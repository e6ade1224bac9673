// The colours of plots, for history.js and console.js.
"use strict";

// A canvas does not know the theme: the colour of a token is that which an element would have.
function tokenColour(name) {
  const root = document.documentElement;
  root.style.color = `var(${name})`;
  const colour = getComputedStyle(root).color;
  root.style.color = "";
  return colour;
}
