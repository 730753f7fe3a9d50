"""Judge explanations: localisation, faithfulness, sensitivity to the class, robustness, with intervals."""
