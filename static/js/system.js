// The page of the system: its table of collectors stays where it was scrolled to.
"use strict";
{
  const table = () => live.querySelector(".collectors .tablewrap");
  let top = 0;
  Oculus.leaving = () => {
    top = table()?.scrollTop ?? 0;
  };
  Oculus.arrived = () => {
    table()?.scrollTo(0, top);
  };
}
