"""The pages of Flowyard: workflows, runs, one run, live in a browser. The door is `main`; the routes are in `app`."""
