"""Publishing as pure plans: what is published and a document give what is added, or every fault; the gate; changes."""
