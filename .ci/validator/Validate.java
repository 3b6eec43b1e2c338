import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.SingleValidationMessage;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;

/**
 * Validates every *.json file of a folder as a resource of FHIR R4: structure, cardinality, codes, invariants. It asks no
 * server: all definitions come with it.
 *
 * <p>It prints a line for each finding (file, severity, location, message, with tabs between) and at last how many it read.
 */
public final class Validate {
  public static void main(String[] args) throws Exception {
    FhirContext context = FhirContext.forR4();
    FhirValidator validator = context.newValidator();
    validator.registerValidatorModule(new FhirInstanceValidator(support(context)));
    int read = 0;
    for (Path file : jsonFiles(Path.of(args[0]))) {
      read++;
      for (SingleValidationMessage m : validator.validateWithResult(Files.readString(file)).getMessages()) {
        System.out.println(String.join("\t", file.getFileName().toString(), m.getSeverity().getCode(),
            String.valueOf(m.getLocationString()), m.getMessage().replaceAll("\\s+", " ")));
      }
    }
    System.out.println("validated\t" + read);
  }

  private static IValidationSupport support(FhirContext context) {
    return new ValidationSupportChain(new DefaultProfileValidationSupport(context),
        new CommonCodeSystemsTerminologyService(context), new InMemoryTerminologyServerValidationSupport(context));
  }

  private static List<Path> jsonFiles(Path folder) throws Exception {
    try (Stream<Path> all = Files.list(folder)) {
      return all.filter(p -> p.toString().endsWith(".json")).sorted().toList();
    }
  }
}
