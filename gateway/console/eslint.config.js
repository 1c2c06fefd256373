// House rules for the console: strict types, rules of hooks, and no text outside the message catalogue.
import hooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

const catalogue = "Put text into src/text/zh.ts and src/text/en.ts.";

export default tseslint.config(
  { ignores: ["dist", "node_modules"] },
  ...tseslint.configs.strictTypeChecked,
  hooks.configs.flat["recommended-latest"],
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "max-lines": ["error", 250],
      "max-lines-per-function": ["error", 80],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "no-restricted-syntax": [
        "error",
        { selector: "JSXText[value=/[A-Za-z\\u3400-\\u9fff]/]", message: catalogue },
        {
          selector: "JSXAttribute[name.name=/^(aria-label|title|alt|placeholder|label|description|okText|cancelText)$/] > Literal[value!='']",
          message: catalogue,
        },
      ],
      "no-restricted-properties": ["error", { property: "innerHTML" }, { property: "dangerouslySetInnerHTML" }],
    },
  },
  { files: ["**/*.test.{ts,tsx}"], rules: { "max-lines-per-function": "off", "no-restricted-syntax": "off" } },
  { files: ["eslint.config.js"], extends: [tseslint.configs.disableTypeChecked] },
);
