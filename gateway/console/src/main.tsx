// Composition root: the page's nonce, the gateway over the browser's fetch and EventSource, and the React tree.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { Gateway } from "./api";
import { App } from "./App";
import "./styles.css";

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");
const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? "";

createRoot(root).render(
  <StrictMode>
    <App nonce={nonce} gateway={new Gateway()} openSource={() => new EventSource("/api/v1/live")} />
  </StrictMode>,
);
